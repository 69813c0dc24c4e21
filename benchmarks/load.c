/* The load generator: many client connections in one thread, cheap enough to be slower for no server.
 *
 *     load spin|sleep PORT REQUEST PATH HEADERS
 *
 * takes commands on stdin, one per line, and answers each with one line of JSON on stdout. WebSockets are opened
 * at PATH, with HEADERS, each of which ends with CRLF, besides those that RFC 6455 asks for.
 *
 *     payload TEXT           the message that is sent and expected from now on
 *     websockets N           open N more WebSocket connections, one after the other
 *     keepalives N           open N more HTTP connections and make REQUEST once on each
 *     echo SECONDS DEPTH     keep DEPTH messages in flight on each WebSocket, then wait for the last answer
 *     get SECONDS            keep one REQUEST in flight on each HTTP connection, then wait for the last answer
 *     broadcast COUNT        send the text COUNT on the first WebSocket, then receive COUNT messages on each
 *     publish SECONDS TEXT   send TEXT on the first WebSocket, receive one message on each, and so on
 *     listen SECONDS FD      write a byte to the file descriptor FD, receive one message on each, and so on
 *     handshakes SECONDS N   N at a time, open a WebSocket, have the message echoed if there is one, close with
 *                            1000, wait for the server's end, and so on
 *
 * Every answer is checked: type, length and (where it arrives in one piece) content. Anything unexpected is
 * {"error": "..."} and exit status 1. Pings are answered.
 *
 * With "spin" it never sleeps, so that the server does not pay for waking a process of its own machine, which
 * no server of remote clients does. "busy_s" is then the time it spent on answers, without the waiting.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MAX_CONNECTIONS = 60000, MAX_DEPTH = 64, MAX_PAYLOAD = 1024, MAX_EVENTS = 256, SILENCE_MS = 10000 };
enum { MAX_LIVES = 64, MAX_HEAD = 2048 };
enum { TEXT = 1, CLOSE = 8, PING = 9, PONG = 10 };

struct connection {
    int fd;
    size_t answer_bytes;      /* HTTP: of the answer that is arriving */
    size_t header_bytes;      /* WebSocket: of the frame header that is arriving */
    size_t payload_left;      /* WebSocket: of the frame that is arriving */
    uint8_t header[4];
    uint8_t control[125];     /* payload of a ping or close that is arriving */
    size_t control_bytes;
};

static struct connection connections[MAX_CONNECTIONS];
static int connection_count;
static int epoll;
static int spins;
static double busy_s, busy_since;
static int port;
static const char *request;
static size_t request_bytes;
static size_t expected_answer_bytes;
static uint8_t expected_last_byte;
static char handshake[MAX_HEAD];
static size_t handshake_bytes;
static size_t payload_bytes;
static char payload[MAX_PAYLOAD];
static uint8_t frames[MAX_DEPTH * (MAX_PAYLOAD + 8)]; /* MAX_DEPTH times the same masked text frame */
static size_t frame_bytes;
static uint8_t buffer[1 << 18];

static void fail(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    printf("{\"error\": \"");
    vprintf(format, arguments);
    printf("\"}\n");
    exit(1);
}

static double clock_s(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return now.tv_sec + now.tv_nsec / 1e9;
}

static void send_all(struct connection *c, const void *data, size_t bytes) {
    ssize_t sent = send(c->fd, data, bytes, MSG_NOSIGNAL);
    if (sent < 0) fail("send: %s", strerror(errno));
    if ((size_t)sent != bytes) fail("the server does not read: short send");
}

/* RFC 6455 section 5.2; a client masks what it sends. */
static size_t build_frame(uint8_t *out, int opcode, const void *data, size_t bytes) {
    static const uint8_t mask[4] = {0x37, 0xfa, 0x21, 0x3d};
    size_t at = 0;
    out[at++] = 0x80 | opcode;
    if (bytes < 126) {
        out[at++] = 0x80 | bytes;
    } else {
        out[at++] = 0x80 | 126;
        out[at++] = bytes >> 8;
        out[at++] = bytes & 255;
    }
    memcpy(out + at, mask, 4);
    at += 4;
    for (size_t i = 0; i < bytes; i++) out[at + i] = ((const uint8_t *)data)[i] ^ mask[i & 3];
    return at + bytes;
}

static void on_control_frame(struct connection *c, int opcode) {
    uint8_t pong[160];
    if (opcode == CLOSE && c->control_bytes >= 2)
        fail("the server closed a WebSocket with %d", c->control[0] << 8 | c->control[1]);
    if (opcode == CLOSE) fail("the server closed a WebSocket");
    if (opcode == PING) send_all(c, pong, build_frame(pong, PONG, c->control, c->control_bytes));
}

/* Take in what arrived on a WebSocket; return how many messages it completed. */
static long messages_in(struct connection *c, const uint8_t *data, size_t bytes) {
    long messages = 0;
    while (bytes || (c->header_bytes && c->payload_left == 0)) {
        size_t header_size = c->header_bytes >= 2 && (c->header[1] & 127) == 126 ? 4 : 2;
        if (c->header_bytes < header_size) {
            if (!bytes) break;
            c->header[c->header_bytes++] = *data++;
            bytes--;
            header_size = c->header_bytes >= 2 && (c->header[1] & 127) == 126 ? 4 : 2;
            if (c->header_bytes < header_size) continue;
            int opcode = c->header[0] & 15;
            if (!(c->header[0] & 0x80) || c->header[0] & 0x70 || c->header[1] > 126)
                fail("unexpected frame header %02x %02x", c->header[0], c->header[1]);
            c->payload_left = header_size == 4 ? (size_t)(c->header[2] << 8 | c->header[3]) : c->header[1];
            c->control_bytes = 0;
            if (opcode < CLOSE) {
                if (opcode != TEXT) fail("opcode %d instead of a text message", opcode);
                if (c->payload_left != payload_bytes) fail("a message of %zu bytes", c->payload_left);
                if (bytes >= payload_bytes && memcmp(data, payload, payload_bytes)) fail("wrong content");
            } else if (c->payload_left > sizeof c->control) {
                fail("control frame of %zu bytes", c->payload_left);
            }
        }
        int opcode = c->header[0] & 15;
        size_t take = bytes < c->payload_left ? bytes : c->payload_left;
        if (opcode >= CLOSE) {
            memcpy(c->control + c->control_bytes, data, take);
            c->control_bytes += take;
        }
        data += take;
        bytes -= take;
        c->payload_left -= take;
        if (c->payload_left) break;
        c->header_bytes = 0;
        if (opcode >= CLOSE) on_control_frame(c, opcode);
        else messages++;
    }
    return messages;
}

static size_t receive(struct connection *c) {
    ssize_t got = recv(c->fd, buffer, sizeof buffer, 0);
    if (got == 0) fail("the server ended a connection");
    if (got < 0) fail("recv: %s", strerror(errno));
    return got;
}

/* ---- opening ---- */

static void connect_at(int index) {
    struct connection *c = &connections[index];
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    struct timeval patience = {.tv_sec = SILENCE_MS / 1000};
    int on = 1;
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (c->fd < 0) fail("socket: %s", strerror(errno));
    setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (connect(c->fd, (void *)&address, sizeof address)) fail("connect: %s", strerror(errno));
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = index};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &event)) fail("epoll_ctl: %s", strerror(errno));
}

static struct connection *connect_one(void) {
    if (connection_count == MAX_CONNECTIONS) fail("more than %d connections", MAX_CONNECTIONS);
    connect_at(connection_count);
    return &connections[connection_count++];
}

/* Read on until the head of an HTTP answer is in the buffer; return its bytes, and all bytes read. */
static size_t receive_head(struct connection *c, size_t *read_bytes) {
    size_t have = 0;
    for (;;) {
        ssize_t got = recv(c->fd, buffer + have, sizeof buffer - 1 - have, 0);
        if (got <= 0) fail("no answer to the first request: %s", got ? strerror(errno) : "closed");
        have += got;
        buffer[have] = 0;
        char *end = strstr((char *)buffer, "\r\n\r\n");
        if (end) {
            *read_bytes = have;
            return end + 4 - (char *)buffer;
        }
        if (have == sizeof buffer - 1) fail("endless answer");
    }
}

static void build_handshake(const char *path, const char *headers) {
    int bytes = snprintf(handshake, sizeof handshake,
                         "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                         "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n%s\r\n",
                         path, port, headers);
    if (bytes >= (int)sizeof handshake) fail("PATH and HEADERS are too long");
    handshake_bytes = bytes;
}

static void require_opened(const char *head) {
    if (strncmp(head, "HTTP/1.1 101 ", 13)) fail("handshake refused: %.12s", head);
    if (!strstr(head, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")) fail("wrong Sec-WebSocket-Accept");
}

static void open_websocket(void) {
    struct connection *c = connect_one();
    size_t read_bytes;
    send_all(c, handshake, handshake_bytes);
    size_t head = receive_head(c, &read_bytes);
    require_opened((char *)buffer);
    messages_in(c, buffer + head, read_bytes - head);
}

static void open_keepalive(void) {
    struct connection *c = connect_one();
    size_t read_bytes;
    send_all(c, request, request_bytes);
    size_t head = receive_head(c, &read_bytes);
    if (strncmp((char *)buffer, "HTTP/1.1 200 ", 13)) fail("not answered with 200: %.12s", buffer);
    char *length = strcasestr((char *)buffer, "\r\ncontent-length:");
    if (length && length < (char *)buffer + head) {
        expected_answer_bytes = head + strtoul(length + 17, NULL, 10);
        expected_last_byte = 'o';
        while (read_bytes < expected_answer_bytes) read_bytes += receive(c);
    } else { /* chunked, without trailers (RFC 9112 section 7.1) */
        while (read_bytes < head + 5 || memcmp(buffer + read_bytes - 5, "0\r\n\r\n", 5)) {
            ssize_t got = recv(c->fd, buffer + read_bytes, sizeof buffer - read_bytes, 0);
            if (got <= 0) fail("neither Content-Length nor a last chunk");
            read_bytes += got;
        }
        expected_answer_bytes = read_bytes;
        expected_last_byte = '\n';
    }
}

/* ---- loading ---- */

struct result {
    long messages;
    double wall_s;
    double cpu_s;
    double busy_s;
};

static struct result begin(void) {
    busy_s = 0;
    busy_since = clock_s(CLOCK_MONOTONIC);
    return (struct result){.wall_s = busy_since, .cpu_s = clock_s(CLOCK_PROCESS_CPUTIME_ID)};
}

static struct result end(struct result result) {
    double now = clock_s(CLOCK_MONOTONIC);
    result.wall_s = now - result.wall_s;
    result.cpu_s = clock_s(CLOCK_PROCESS_CPUTIME_ID) - result.cpu_s;
    result.busy_s = busy_s + now - busy_since;
    return result;
}

static int wait_events(struct epoll_event *events) {
    double waiting_since = clock_s(CLOCK_MONOTONIC);
    busy_s += waiting_since - busy_since;
    for (;;) {
        int count = epoll_wait(epoll, events, MAX_EVENTS, spins ? 0 : SILENCE_MS);
        if (count < 0) fail("epoll_wait: %s", strerror(errno));
        busy_since = clock_s(CLOCK_MONOTONIC);
        if (count) return count;
        if (busy_since - waiting_since > SILENCE_MS / 1000) fail("nothing arrived for %d s", SILENCE_MS / 1000);
    }
}

static struct result echo(double seconds, int depth) {
    struct epoll_event events[MAX_EVENTS];
    struct result result = begin();
    long in_flight = 0;
    if (depth < 1 || depth > MAX_DEPTH) fail("depth must be 1 to %d", MAX_DEPTH);
    for (int i = 0; i < connection_count; i++) {
        send_all(&connections[i], frames, depth * frame_bytes);
        in_flight += depth;
    }
    while (in_flight) {
        int count = wait_events(events);
        int going_on = busy_since - result.wall_s < seconds;
        for (int i = 0; i < count; i++) {
            struct connection *c = &connections[events[i].data.u32];
            long arrived = messages_in(c, buffer, receive(c));
            result.messages += arrived;
            if (arrived && going_on) send_all(c, frames, arrived * frame_bytes);
            else in_flight -= arrived;
        }
    }
    return end(result);
}

static struct result get(double seconds) {
    struct epoll_event events[MAX_EVENTS];
    struct result result = begin();
    long in_flight = connection_count;
    for (int i = 0; i < connection_count; i++) {
        connections[i].answer_bytes = 0;
        send_all(&connections[i], request, request_bytes);
    }
    while (in_flight) {
        int count = wait_events(events);
        int going_on = busy_since - result.wall_s < seconds;
        for (int i = 0; i < count; i++) {
            struct connection *c = &connections[events[i].data.u32];
            size_t got = receive(c);
            if (c->answer_bytes == 0 && (got < 12 || memcmp(buffer, "HTTP/1.1 200", 12))) fail("not a 200");
            c->answer_bytes += got;
            if (c->answer_bytes < expected_answer_bytes) continue;
            if (c->answer_bytes > expected_answer_bytes) fail("answers of different lengths");
            if (buffer[got - 1] != expected_last_byte) fail("wrong body");
            c->answer_bytes = 0;
            result.messages++;
            if (going_on) send_all(c, request, request_bytes);
            else in_flight--;
        }
    }
    return end(result);
}

static struct result broadcast(long count) {
    struct epoll_event events[MAX_EVENTS];
    struct result result = begin();
    long wanted = count * connection_count;
    char text[32];
    uint8_t frame[64];
    int bytes = snprintf(text, sizeof text, "%ld", count);
    send_all(&connections[0], frame, build_frame(frame, TEXT, text, bytes));
    while (result.messages < wanted) {
        int ready = wait_events(events);
        for (int i = 0; i < ready; i++) {
            struct connection *c = &connections[events[i].data.u32];
            result.messages += messages_in(c, buffer, receive(c));
        }
    }
    if (result.messages > wanted) fail("%ld messages instead of %ld", result.messages, wanted);
    return end(result);
}

/* Have one message after the other published, and received on each: TEXT on the first WebSocket asks for it, or,
 * without TEXT, a byte to another process. */
static struct result publish(double seconds, const char *text, int publisher) {
    struct epoll_event events[MAX_EVENTS];
    struct result result = begin();
    uint8_t frame[160];
    size_t bytes = text ? build_frame(frame, TEXT, text, strlen(text)) : 0;
    int going_on = 1;
    while (going_on) {
        long wanted = result.messages + connection_count;
        if (text) send_all(&connections[0], frame, bytes);
        else if (write(publisher, ".", 1) != 1) fail("the publisher has ended");
        while (result.messages < wanted) {
            int ready = wait_events(events);
            for (int i = 0; i < ready; i++) {
                struct connection *c = &connections[events[i].data.u32];
                result.messages += messages_in(c, buffer, receive(c));
            }
        }
        if (result.messages > wanted) fail("%ld messages instead of %ld", result.messages, wanted);
        going_on = busy_since - result.wall_s < seconds;
    }
    return end(result);
}

/* A short life, and what has arrived in this part of it. */
static struct life {
    enum { OPENING, ECHOING, CLOSING } part;
    char arrived[MAX_HEAD];
    size_t bytes;
} lives[MAX_LIVES];

static void begin_life(int index) {
    lives[index].part = OPENING;
    lives[index].bytes = 0;
    connect_at(index);
    send_all(&connections[index], handshake, handshake_bytes);
}

/* Take in what arrived; go on to the next part when this one is complete. */
static void live(struct connection *c, struct life *life) {
    static size_t close_bytes;
    static uint8_t close_frame[16];
    char *head_end;
    if (!close_bytes) close_bytes = build_frame(close_frame, CLOSE, "\x03\xe8", 2);
    switch (life->part) {
    case OPENING:
        head_end = strstr(life->arrived, "\r\n\r\n");
        if (!head_end && life->bytes == MAX_HEAD - 1) fail("endless answer");
        if (!head_end) return;
        require_opened(life->arrived);
        if (head_end + 4 != life->arrived + life->bytes) fail("an unexpected message");
        break;
    case ECHOING:
        if (life->bytes < 2 + payload_bytes) return;
        if (life->bytes > 2 + payload_bytes || memcmp(life->arrived + 2, payload, payload_bytes)) fail("no echo");
        break;
    case CLOSING:
        return;
    }
    life->part = life->part == OPENING && payload_bytes ? ECHOING : CLOSING;
    life->bytes = 0;
    if (life->part == ECHOING) send_all(c, frames, frame_bytes);
    else send_all(c, close_frame, close_bytes);
}

static struct result handshakes(double seconds, int at_a_time) {
    struct epoll_event events[MAX_EVENTS];
    int going_on, alive = at_a_time;
    if (connection_count) fail("there are open connections");
    if (at_a_time < 1 || at_a_time > MAX_LIVES) fail("1 to %d at a time", MAX_LIVES);
    struct result result = begin();
    for (int i = 0; i < at_a_time; i++) begin_life(i);
    while (alive) {
        int count = wait_events(events);
        going_on = busy_since - result.wall_s < seconds;
        for (int i = 0; i < count; i++) {
            int index = events[i].data.u32;
            struct connection *c = &connections[index];
            struct life *life = &lives[index];
            ssize_t got = recv(c->fd, life->arrived + life->bytes, MAX_HEAD - 1 - life->bytes, 0);
            if (got < 0) fail("recv: %s", strerror(errno));
            life->arrived[life->bytes += got] = 0;
            if (got) {
                live(c, life);
                continue;
            }
            if (life->part != CLOSING) fail("the server ended a connection: %.12s", life->arrived);
            if (life->bytes != 4 || memcmp(life->arrived, "\x88\x02\x03\xe8", 4)) fail("no answer to 1000");
            close(c->fd);
            result.messages++;
            if (going_on) begin_life(index);
            else alive--;
        }
    }
    return end(result);
}

/* ---- commands ---- */

static void print_result(struct result result) {
    printf("{\"messages\": %ld, \"wall_s\": %.6f, \"cpu_s\": %.6f, \"busy_s\": %.6f}\n", result.messages,
           result.wall_s, result.cpu_s, result.busy_s);
}

static void open_many(void (*open_one)(void), int count) {
    while (count-- > 0) open_one();
    printf("{\"connections\": %d}\n", connection_count);
}

static void set_payload(const char *text) {
    payload_bytes = strlen(text);
    if (payload_bytes > MAX_PAYLOAD) fail("payload above %d bytes", MAX_PAYLOAD);
    memcpy(payload, text, payload_bytes);
    frame_bytes = build_frame(frames, TEXT, payload, payload_bytes);
    for (int i = 1; i < MAX_DEPTH; i++) memcpy(frames + i * frame_bytes, frames, frame_bytes);
    printf("{\"payload_bytes\": %zu}\n", payload_bytes);
}

int main(int argc, char **argv) {
    char line[MAX_PAYLOAD + 128];
    char text[128];
    double seconds;
    long count;
    int depth;
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc != 6) fail("usage: load spin|sleep PORT REQUEST PATH HEADERS");
    spins = strcmp(argv[1], "spin") == 0;
    port = atoi(argv[2]);
    request = argv[3];
    request_bytes = strlen(request);
    build_handshake(argv[4], argv[5]);
    epoll = epoll_create1(0);
    while (fgets(line, sizeof line, stdin)) {
        line[strcspn(line, "\n")] = 0;
        if (strncmp(line, "payload ", 8) == 0) set_payload(line + 8);
        else if (sscanf(line, "websockets %ld", &count) == 1) open_many(open_websocket, count);
        else if (sscanf(line, "keepalives %ld", &count) == 1) open_many(open_keepalive, count);
        else if (sscanf(line, "echo %lf %d", &seconds, &depth) == 2) print_result(echo(seconds, depth));
        else if (sscanf(line, "get %lf", &seconds) == 1) print_result(get(seconds));
        else if (sscanf(line, "broadcast %ld", &count) == 1) print_result(broadcast(count));
        else if (sscanf(line, "publish %lf %120s", &seconds, text) == 2) print_result(publish(seconds, text, -1));
        else if (sscanf(line, "listen %lf %d", &seconds, &depth) == 2) print_result(publish(seconds, NULL, depth));
        else if (sscanf(line, "handshakes %lf %d", &seconds, &depth) == 2) print_result(handshakes(seconds, depth));
        else fail("unknown command");
    }
    return 0;
}
