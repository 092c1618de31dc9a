"use strict";

const form = document.getElementById("form");
const stages = document.getElementById("stages");
const message = document.getElementById("message");
const figure = document.getElementById("result");

function show(state, text = "") {
  message.textContent = text;
  form.querySelector("button").disabled = !["done", "failed"].includes(state);
  if (state === "failed") return;
  const items = [...stages.children];
  const now = items.findIndex((item) => item.dataset.stage === state);
  items.forEach((item, index) => {
    item.className = state === "done" || index < now ? "past" : index === now ? "now" : "";
  });
}

function watch(swap) {
  const events = new EventSource(`/swaps/${swap}/events`); // comes back by itself after a cut
  events.onmessage = (event) => {
    const { state, message: text } = JSON.parse(event.data);
    show(state, text);
    if (state === "done") {
      figure.querySelector("img").src = `/swaps/${swap}/result`;
      figure.hidden = false;
    }
    if (["done", "failed"].includes(state)) events.close();
  };
  events.onerror = () => {
    if (events.readyState === EventSource.CLOSED) show("failed", "The connection was lost. Please try again later.");
  };
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  figure.hidden = true;
  stages.hidden = false;
  show("send");
  try {
    const answer = await fetch("/swaps", { method: "POST", body: new FormData(form) });
    if (!answer.ok) throw new Error(await answer.text());
    watch((await answer.json()).swap);
  } catch (error) {
    show("failed", error.message);
  }
});
