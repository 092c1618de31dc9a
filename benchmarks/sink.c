/* A storage and an API for benchmarks, cheap enough not to be what is measured: HTTP/1.1, one thread, epoll.

   sink PORT ANSWER [CERTIFICATE KEY]

   PUT  any path   the body is thrown away, over plain HTTP without copying it
   GET  /bytes/N   N bytes
   GET  /counts    connections and requests so far, bytes of bodies taken
   others          the JSON in the file ANSWER, whatever the body

   Prints its port when it listens; 0 takes a free one. With SINK_UNREAD set, bodies over TLS are taken record by record
   and not decrypted, so that the sender has a core's work more than the sink; such a connection is closed afterwards.
*/
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <openssl/err.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { HEAD = 16384, PIECE = 1 << 18, RECORD_HEAD = 5, TLS13_OVERHEAD = 17 };

typedef struct {
    int fd, is_shaken, is_raw, closes, wants_write;
    SSL *tls;
    char head[HEAD + 1];
    size_t head_length;
    long long body_left;              /* of the request */
    unsigned char record[RECORD_HEAD];
    int record_head_length;
    long record_left;
    char answer[HEAD];
    size_t answer_length, answer_sent;
    long long zeros_left;             /* of the answer, after its head */
    char path[256];
    int is_put;
} Connection;

static SSL_CTX *context;
static int poller, takes_unread;
static char *json;
static size_t json_length;
static long long connections, requests, bytes_taken;
static char piece[PIECE];

static void fail(const char *what) { perror(what); exit(1); }

static void end(Connection *c) {
    if (c->tls) SSL_free(c->tls);
    close(c->fd);
    free(c);
}

/* Return bytes moved, 0 at the end, -1 where there are none now. */
static ssize_t checked(Connection *c, int moved) {
    if (moved > 0) return moved;
    int error = SSL_get_error(c->tls, moved);
    ERR_clear_error();
    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) { errno = EAGAIN; return -1; }
    return 0;
}

static ssize_t take(Connection *c, void *buffer, size_t size) {
    return c->tls ? checked(c, SSL_read(c->tls, buffer, (int)size)) : recv(c->fd, buffer, size, 0);
}

static ssize_t give(Connection *c, const void *buffer, size_t size) {
    return c->tls ? checked(c, SSL_write(c->tls, buffer, (int)size)) : send(c->fd, buffer, size, MSG_NOSIGNAL);
}

static void want_write(Connection *c, int wanted) {
    if (c->wants_write == wanted) return;
    c->wants_write = wanted;
    struct epoll_event event = {.events = EPOLLIN | (wanted ? EPOLLOUT : 0), .data.ptr = c};
    epoll_ctl(poller, EPOLL_CTL_MOD, c->fd, &event);
}

/* Return whether the connection lives on. */
static int send_answer(Connection *c) {
    while (c->answer_sent < c->answer_length || c->zeros_left > 0) {
        int is_head = c->answer_sent < c->answer_length;
        const char *from = is_head ? c->answer + c->answer_sent : piece;
        size_t size = is_head ? c->answer_length - c->answer_sent : (size_t)(c->zeros_left < PIECE ? c->zeros_left : PIECE);
        ssize_t sent = give(c, from, size);
        if (sent <= 0) {
            if (sent < 0 && errno == EAGAIN) { want_write(c, 1); return 1; }
            end(c);
            return 0;
        }
        if (is_head) c->answer_sent += sent; else c->zeros_left -= sent;
    }
    want_write(c, 0);
    c->answer_length = 0;
    if (c->closes) { end(c); return 0; }
    return 1;
}

static int respond(Connection *c) {
    requests++;
    c->answer_sent = 0;
    c->zeros_left = 0;
    const char *ending = c->closes ? "Connection: close\r\n" : "";
    if (c->is_put) {
        c->answer_length = snprintf(c->answer, HEAD, "HTTP/1.1 200 OK\r\nETag: \"x\"\r\nContent-Length: 0\r\n%s\r\n", ending);
    } else if (!strncmp(c->path, "/bytes/", 7)) {
        c->zeros_left = atoll(c->path + 7);
        c->answer_length = snprintf(c->answer, HEAD, "HTTP/1.1 200 OK\r\nETag: \"x\"\r\nContent-Length: %lld\r\n\r\n", c->zeros_left);
    } else if (!strcmp(c->path, "/counts")) {
        char body[128];
        int length = snprintf(body, sizeof body, "[%lld, %lld, %lld]", connections, requests, bytes_taken);
        c->answer_length = snprintf(c->answer, HEAD, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", length, body);
    } else {
        int length = snprintf(c->answer, HEAD, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n", json_length);
        memcpy(c->answer + length, json, json_length);
        c->answer_length = length + json_length;
    }
    return send_answer(c);
}

static const char *header(const char *head, const char *name) {
    size_t length = strlen(name);
    for (const char *line = strstr(head, "\r\n"); line; line = strstr(line + 2, "\r\n"))
        if (!strncasecmp(line + 2, name, length) && line[2 + length] == ':') return line + 3 + length;
    return NULL;
}

/* Read a request's head, of which `length` bytes have come; the rest is its body's beginning, or the next request. */
static int begin(Connection *c, size_t length) {
    char next = c->head[length];
    c->head[length] = 0;
    const char *size = header(c->head, "Content-Length"), *space = strchr(c->head, ' ');
    if (!space || header(c->head, "Transfer-Encoding")) { end(c); return 0; }  /* as S3, it takes no chunks */
    c->body_left = size ? atoll(size) : 0;
    c->is_put = !strncmp(c->head, "PUT ", 4);
    int waits = header(c->head, "Expect") != NULL;
    snprintf(c->path, sizeof c->path, "%.*s", (int)strcspn(space + 1, " ?"), space + 1);
    c->head[length] = next;
    size_t more = c->head_length - length;
    size_t taken = (long long)more < c->body_left ? more : (size_t)c->body_left;
    c->body_left -= taken;
    bytes_taken += taken;
    memmove(c->head, c->head + length + taken, more - taken);
    static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
    if (waits && !taken && give(c, go_on, sizeof go_on - 1) <= 0) { end(c); return 0; }
    c->head_length = more - taken;
    if (!c->body_left) return respond(c);
    if (takes_unread && c->tls && c->body_left > PIECE && !SSL_has_pending(c->tls)) c->is_raw = c->closes = 1;
    return 1;
}

/* Take some of a body; -1: there is none now, 0: the connection has ended. */
static ssize_t take_body(Connection *c) {
    ssize_t count;
    if (!c->is_raw) {
        size_t size = c->body_left < PIECE ? (size_t)c->body_left : PIECE;
        count = c->tls ? take(c, piece, size) : recv(c->fd, NULL, c->body_left < 1 << 23 ? (size_t)c->body_left : 1 << 23, MSG_TRUNC);
        if (count > 0) { c->body_left -= count; bytes_taken += count; }
    } else if (!c->record_left) {
        count = recv(c->fd, c->record + c->record_head_length, RECORD_HEAD - c->record_head_length, 0);
        if (count > 0 && (c->record_head_length += count) == RECORD_HEAD) {
            c->record_head_length = 0;
            c->record_left = c->record[3] << 8 | c->record[4];
            c->body_left -= c->record_left - TLS13_OVERHEAD;
            bytes_taken += c->record_left - TLS13_OVERHEAD;
        }
        if (count > 0) return 1;
    } else {
        count = recv(c->fd, NULL, c->record_left, MSG_TRUNC);
        if (count > 0) c->record_left -= count;
    }
    return count;
}

static void serve(Connection *c, unsigned events) {
    if (c->tls && !c->is_shaken) {
        ssize_t shaken = checked(c, SSL_accept(c->tls));
        if (shaken < 0) return;
        if (!shaken) { end(c); return; }
        c->is_shaken = 1;
    }
    if (c->answer_length) {
        if (!(events & EPOLLOUT) || !send_answer(c) || c->answer_length) return;
    }
    for (;;) {
        ssize_t count;
        if (c->body_left || c->record_left) {
            count = take_body(c);
            if (count > 0 && !c->body_left && !c->record_left && (!respond(c) || c->answer_length)) return;
        } else {
            c->head[c->head_length] = 0;
            char *rest = strstr(c->head, "\r\n\r\n");
            if (rest) {
                if (!begin(c, rest + 4 - c->head) || c->answer_length) return;
                continue;
            }
            count = c->head_length < HEAD ? take(c, c->head + c->head_length, HEAD - c->head_length) : 0;
            if (count > 0) c->head_length += count;
        }
        if (count > 0) continue;
        if (count < 0 && errno == EAGAIN) return;
        end(c);
        return;
    }
}

static void take_connections(int listener) {
    int one = 1, fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        connections++;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        Connection *c = calloc(1, sizeof *c);
        c->fd = fd;
        if (context) { c->tls = SSL_new(context); SSL_set_fd(c->tls, fd); }
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
        epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event);
    }
}

static void read_answer(const char *path) {
    FILE *file = fopen(path, "r");
    if (!file) fail(path);
    json = malloc(HEAD / 2);
    json_length = fread(json, 1, HEAD / 2, file);
    fclose(file);
}

static void use_tls(const char *certificate, const char *key) {
    context = SSL_CTX_new(TLS_server_method());
    SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION);
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    if (!takes_unread) {  /* reading ahead would take records out of the socket that are to be counted there */
        SSL_CTX_set_read_ahead(context, 1);
        SSL_CTX_set_default_read_buffer_len(context, PIECE);
    }
    if (SSL_CTX_use_certificate_chain_file(context, certificate) != 1 || SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) != 1) fail("certificate");
}

int main(int count, char **arguments) {
    if (count < 3) { fprintf(stderr, "sink PORT ANSWER [CERTIFICATE KEY]\n"); return 2; }
    signal(SIGPIPE, SIG_IGN);
    takes_unread = getenv("SINK_UNREAD") != NULL;
    read_answer(arguments[2]);
    if (count > 4) use_tls(arguments[3], arguments[4]);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(arguments[1])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (bind(listener, (struct sockaddr *)&address, length) || listen(listener, 1024)) fail("listen");
    getsockname(listener, (struct sockaddr *)&address, &length);
    poller = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN}, events[256];
    epoll_ctl(poller, EPOLL_CTL_ADD, listener, &event);
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    for (;;) {
        int ready = epoll_wait(poller, events, 256, -1);
        for (int i = 0; i < ready; i++) {
            if (events[i].data.ptr) serve(events[i].data.ptr, events[i].events);
            else take_connections(listener);
        }
    }
}
