/* A lamp that speaks TLS with mbedTLS, and to the hub of its own authority only.

       cc -std=c99 -O2 -o lamp lamp.c -lmbedtls -lmbedx509 -lmbedcrypto -lm
       ./lamp HUB PORT DEVICE KEY CA.pem [STEPS]

   The authority has to have signed HUB, the name, into the certificate. */
#define _POSIX_C_SOURCE 200809L
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <mbedtls/ctr_drbg.h>
#include <mbedtls/entropy.h>
#include <mbedtls/error.h>
#include <mbedtls/net_sockets.h>
#include <mbedtls/ssl.h>

#include "../c/sheepfold.h"

#define WAIT_MS 5 /* for a byte, before the clock is looked at again */
#define WANTED 0.7f

static const char *host, *port;
static mbedtls_entropy_context entropy;
static mbedtls_ctr_drbg_context chance;
static mbedtls_x509_crt authority;
static mbedtls_ssl_config config;
static mbedtls_ssl_context tls;
static mbedtls_net_context line;
static int up;
static uint8_t out[512];
static size_t waiting;
static sheep hub;

/* --- the link ----------------------------------------------------------------------------------- */

static void hang_up(void) {
    mbedtls_net_free(&line);
    mbedtls_ssl_session_reset(&tls);
    waiting = 0;
    up = 0;
}

static void call(void) {
    int status;
    char text[100];
    if (mbedtls_net_connect(&line, host, port, MBEDTLS_NET_PROTO_TCP))
        return;
    mbedtls_ssl_conf_read_timeout(&config, 5000);
    status = mbedtls_ssl_handshake(&tls);
    mbedtls_ssl_conf_read_timeout(&config, WAIT_MS);
    up = status == 0;
    if (status == MBEDTLS_ERR_X509_CERT_VERIFY_FAILED) {
        fprintf(stderr, "refused: this is not the hub that the authority signed\n");
        exit(1);
    }
    if (status) {
        mbedtls_strerror(status, text, sizeof text);
        fprintf(stderr, "%s\n", text);
        hang_up();
    }
}

static void lose(void) { /* SHEEP_LOST says when to call again */
    hang_up();
    sheep_closed(&hub);
}

static void flush(void) {
    size_t sent = 0;
    while (up && sent < waiting) {
        int count = mbedtls_ssl_write(&tls, out + sent, waiting - sent);
        if (count < 0 && count != MBEDTLS_ERR_SSL_WANT_WRITE)
            lose();
        else if (count > 0)
            sent += (size_t)count;
    }
    waiting = 0;
}

static void put(void *unused, uint8_t byte) {
    (void)unused;
    out[waiting++] = byte;
    if (waiting == sizeof out)
        flush();
}

static int receive(void) {
    struct timespec pause = {0, WAIT_MS * 1000000L};
    uint8_t byte;
    int count;
    if (!up) {
        nanosleep(&pause, NULL);
        return -1;
    }
    count = mbedtls_ssl_read(&tls, &byte, 1);
    if (count == 1)
        return byte;
    if (count != MBEDTLS_ERR_SSL_TIMEOUT && count != MBEDTLS_ERR_SSL_WANT_READ)
        lose();
    return -1;
}

static void set_up(const char *certificate) {
    mbedtls_entropy_init(&entropy);
    mbedtls_ctr_drbg_init(&chance);
    mbedtls_x509_crt_init(&authority);
    mbedtls_ssl_config_init(&config);
    mbedtls_ssl_init(&tls);
    mbedtls_net_init(&line);
    if (mbedtls_ctr_drbg_seed(&chance, mbedtls_entropy_func, &entropy, NULL, 0)
        || mbedtls_x509_crt_parse_file(&authority, certificate)
        || mbedtls_ssl_config_defaults(&config, MBEDTLS_SSL_IS_CLIENT, MBEDTLS_SSL_TRANSPORT_STREAM,
                                       MBEDTLS_SSL_PRESET_DEFAULT)) {
        fprintf(stderr, "can't read the certificate %s\n", certificate);
        exit(2);
    }
    mbedtls_ssl_conf_authmode(&config, MBEDTLS_SSL_VERIFY_REQUIRED);
    mbedtls_ssl_conf_ca_chain(&config, &authority, NULL);
    mbedtls_ssl_conf_rng(&config, mbedtls_ctr_drbg_random, &chance);
    if (mbedtls_ssl_setup(&tls, &config) || mbedtls_ssl_set_hostname(&tls, host))
        exit(2);
    mbedtls_ssl_set_bio(&tls, &line, mbedtls_net_send, NULL, mbedtls_net_recv_timeout);
}

/* --- the desk ----------------------------------------------------------------------------------- */

static float seen[2]; /* the desk, the daylight */

static uint16_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint16_t)(now.tv_sec * 1000 + now.tv_nsec / 1000000);
}

static void shine(float brightness, long step) {
    seen[1] = 0.3f + 0.3f * sinf((float)step / 20);
    seen[0] = seen[1] + 0.7f * brightness;
    hub.reward = -fabsf(seen[0] - WANTED);
    sheep_observe(&hub, now_ms(), step ? SHEEP_REWARD : 0);
}

int main(int count, char **words) {
    char boot[12];
    long steps = 0, steps_max;
    float lamp = 0;
    if (count < 6) {
        fprintf(stderr, "usage: %s HUB PORT DEVICE KEY CA.pem [STEPS]\n", words[0]);
        return 2;
    }
    host = words[1], port = words[2];
    steps_max = count > 6 ? atol(words[6]) : -1;
    set_up(words[5]);
    snprintf(boot, sizeof boot, "%lu", (unsigned long)time(NULL) & 0xffffffff); /* never the same again */
    hub.device = words[3], hub.key = words[4], hub.put = put, hub.boot = boot;
    hub.values = seen, hub.count = 2;
    call();
    shine(0, 0);
    while (steps != steps_max) {
        int byte = receive();
        switch (sheep_run(&hub, now_ms(), byte)) {
        case SHEEP_ACTION:
            lamp = sheep_value(&hub, 0);
            shine(lamp, ++steps);
            break;
        case SHEEP_FALLBACK: /* alone it stays as it is */
            shine(lamp, steps);
            break;
        case SHEEP_REFUSED:
            if (sheep_passing(&hub))
                break;
            fprintf(stderr, "refused: %s\n", *sheep_text(&hub) ? sheep_text(&hub) : "is the key good?");
            return 1;
        case SHEEP_LOST:
            hang_up();
            call();
            break;
        default:
            break;
        }
        flush();
    }
    printf("%ld steps, the desk at %.2f\n", steps, seen[0]);
    return 0;
}
