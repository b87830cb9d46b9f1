/* A thermostat for any computer with sockets: it learns to hold 21 °C in a room that loses heat.

       cc -std=c99 -O2 -o thermostat thermostat.c -lm
       ./thermostat HUB PORT DEVICE KEY [STEPS]

   Ends well after so many actions of the hub (default: never), and at once when the hub refuses it. */
#define _POSIX_C_SOURCE 200809L
#include <math.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "sheepfold.h"

#define WAIT_MS 5          /* for a byte, before the clock is looked at again */
#define SEND_S_MAX 2       /* to connect, or to get rid of bytes */
#define DAY_STEPS 96       /* an episode */

static struct {
    int socket; /* -1: none */
    size_t waiting, taken, have;
    uint8_t out[512], in[512];
} tcp = {-1, 0, 0, 0, {0}, {0}};

static sheep hub;

/* --- the link ----------------------------------------------------------------------------------- */

static void hang_up(void) {
    if (tcp.socket >= 0)
        close(tcp.socket);
    tcp.socket = -1;
    tcp.waiting = tcp.taken = tcp.have = 0;
}

static void lose(void) { /* SHEEP_LOST says when to call again */
    hang_up();
    sheep_closed(&hub);
}

static void call(const char *host, const char *port) {
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *at;
    struct timeval bound = {SEND_S_MAX, 0};
    int on = 1;
    if (getaddrinfo(host, port, &hints, &at))
        return;
    tcp.socket = socket(at->ai_family, SOCK_STREAM, 0);
    if (tcp.socket >= 0) {
        setsockopt(tcp.socket, SOL_SOCKET, SO_SNDTIMEO, &bound, sizeof bound);
        setsockopt(tcp.socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        if (connect(tcp.socket, at->ai_addr, at->ai_addrlen)) {
            close(tcp.socket);
            tcp.socket = -1;
        }
    }
    freeaddrinfo(at);
}

static void flush(void) {
    size_t sent = 0;
    while (tcp.socket >= 0 && sent < tcp.waiting) {
        ssize_t count = send(tcp.socket, tcp.out + sent, tcp.waiting - sent, MSG_NOSIGNAL);
        if (count <= 0) {
            lose();
            return;
        }
        sent += (size_t)count;
    }
    tcp.waiting = 0;
}

static void put(void *unused, uint8_t byte) {
    (void)unused;
    tcp.out[tcp.waiting++] = byte;
    if (tcp.waiting == sizeof tcp.out)
        flush();
}

static int receive(void) { /* -1: nothing came in WAIT_MS */
    struct pollfd wait = {tcp.socket, POLLIN, 0};
    ssize_t count;
    if (tcp.taken < tcp.have)
        return tcp.in[tcp.taken++];
    if (poll(&wait, 1, WAIT_MS) < 1) /* a negative socket is passed over, and the time waited */
        return -1;
    count = recv(tcp.socket, tcp.in, sizeof tcp.in, 0);
    if (count <= 0) {
        lose();
        return -1;
    }
    tcp.have = (size_t)count;
    tcp.taken = 1;
    return tcp.in[0];
}

static uint16_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint16_t)(now.tv_sec * 1000 + now.tv_nsec / 1000000);
}

/* --- the room ----------------------------------------------------------------------------------- */

static float room[1] = {17};
static int hour;

static void wake(void) {
    room[0] = 17;
    hour = 0;
    sheep_observe(&hub, now_ms(), 0);
}

static void live(int heat) {
    room[0] += 0.02f * (5 - room[0]) + 0.8f * (float)heat;
    hub.reward = -fabsf(room[0] - 21);
    sheep_observe(&hub, now_ms(), SHEEP_REWARD | (++hour >= DAY_STEPS ? SHEEP_TRUNCATED : 0));
}

int main(int count, char **words) {
    char boot[12];
    long steps = 0, steps_max;
    if (count < 5) {
        fprintf(stderr, "usage: %s HUB PORT DEVICE KEY [STEPS]\n", words[0]);
        return 2;
    }
    steps_max = count > 5 ? atol(words[5]) : -1;
    snprintf(boot, sizeof boot, "%lu", (unsigned long)time(NULL) & 0xffffffff); /* never the same again */
    hub.device = words[3], hub.key = words[4], hub.put = put, hub.boot = boot;
    hub.values = room, hub.count = 1;
    call(words[1], words[2]);
    wake();
    while (steps != steps_max) {
        int byte = receive();
        switch (sheep_run(&hub, now_ms(), byte)) {
        case SHEEP_ACTION:
            steps++;
            live(sheep_choice(&hub) == 1);
            break;
        case SHEEP_OVER:
            printf("%ld steps, %.1f degrees at the end of the day\n", steps, room[0]);
            wake();
            break;
        case SHEEP_FALLBACK: /* alone it does what thermostats do */
            puts("no answer");
            live(room[0] < 21);
            break;
        case SHEEP_REFUSED:
            if (sheep_passing(&hub))
                break;
            fprintf(stderr, "refused: %s\n", *sheep_text(&hub) ? sheep_text(&hub) : "is the key good?");
            return 1;
        case SHEEP_LOST:
            puts("calling the hub");
            hang_up();
            call(words[1], words[2]);
            break;
        default:
            break;
        }
        flush();
    }
    printf("%ld steps\n", steps);
    return 0;
}
