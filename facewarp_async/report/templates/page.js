
"use strict";
document.documentElement.classList.add("live");

const wipe = (input) => {
  input.parentElement.style.setProperty("--at", `${input.value}%`);
  input.setAttribute("aria-valuetext", `${input.value} % before, ${100 - input.value} % after`);
};

document.addEventListener("input", (event) => {
  if (event.target.type === "range") wipe(event.target);
});

// A picture that was moved or deleted since; errors do not bubble.
document.addEventListener("error", (event) => {
  const picture = event.target;
  if (!(picture instanceof HTMLImageElement || picture instanceof HTMLVideoElement)) return;
  if (picture.dataset.copy) {
    picture.src = picture.dataset.copy;
    delete picture.dataset.copy;
  } else {
    picture.closest("figure")?.classList.add("lost");
  }
}, true);

const play = (button) => {
  const [before, after] = button.closest("figure").querySelectorAll("video");
  if (!before.paused) {
    before.pause();
    after.pause();
    button.textContent = "Play";
    return;
  }
  button.textContent = "Pause";
  after.currentTime = before.currentTime;
  before.ontimeupdate = () => {
    if (Math.abs(after.currentTime - before.currentTime) > 0.2) after.currentTime = before.currentTime;
  };
  for (const video of [before, after]) video.play().catch(() => { button.textContent = "Play"; });
};

document.addEventListener("DOMContentLoaded", () => {
  const cards = [...document.querySelectorAll(".card")];
  const groups = document.querySelector(".groups");
  const form = document.querySelector(".filter");
  const dialog = document.getElementById("large");
  const stage = dialog.querySelector(".stage");
  let texts = null;
  let shown = null;

  const filter = () => {
    texts ??= cards.map((card) => card.querySelector(".text").textContent.toLowerCase());
    const words = form.elements.find.value.toLowerCase().split(/\s+/).filter(Boolean);
    const fate = form.elements.fate.value;
    let count = 0;
    cards.forEach((card, index) => {
      const fits = (!fate || card.dataset.fate === fate) && words.every((word) => texts[index].includes(word));
      card.hidden = !fits;
      count += fits;
    });
    // Few are one grid; many stay in groups, of which the browser lays out only those in sight.
    groups.classList.toggle("few", count <= 300);
    for (const group of groups.children) group.hidden = !group.querySelector(".card:not([hidden])");
    form.querySelector("output").value = count === cards.length ? "" : `${count} of ${cards.length}`;
    document.querySelector(".nothing").hidden = count > 0;
  };

  if (form) {
    form.hidden = false;
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("input", filter);
    if (form.elements.find.value || form.elements.fate.value) filter(); // kept by the browser on a reload
  }

  const enlarge = (card) => {
    shown = card;
    const figure = card.querySelector(".wipe").cloneNode(true);
    figure.querySelectorAll("img").forEach((image) => {
      const full = card.querySelector(`a.${image.className}`).href;
      if (image.src !== full) image.dataset.copy = image.src;
      image.loading = "eager";
      image.src = full;
    });
    stage.replaceChildren(figure);
    dialog.querySelector(".title").textContent = card.querySelector("h3").textContent;
    if (!dialog.open) dialog.showModal();
    figure.querySelector("input").focus();
  };

  const turn = (step) => {
    const all = cards.filter((card) => !card.hidden && card.querySelector(".wipe:not(.lost)"));
    enlarge(all[(all.indexOf(shown) + step + all.length) % all.length]);
  };

  document.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    if (button.matches(".enlarge")) enlarge(button.closest(".card"));
    else if (button.matches(".play")) play(button);
    else if (button.matches(".previous")) turn(-1);
    else if (button.matches(".next")) turn(1);
    else if (button.matches(".close")) dialog.close();
  });

  dialog.addEventListener("keydown", (event) => {
    if (event.key === "PageUp") turn(-1);
    else if (event.key === "PageDown") turn(1);
    else return;
    event.preventDefault();
  });

  dialog.addEventListener("close", () => {
    stage.replaceChildren();
    shown.querySelector(".enlarge").focus();
  });

  // Browsers keep what was typed and set over a reload.
  for (const input of document.querySelectorAll(".wipe input")) if (input.value !== "50") wipe(input);
});
