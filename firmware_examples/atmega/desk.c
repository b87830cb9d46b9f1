/* An ATmega328P on your desk: runs firmware at the chip's own speed and puts its serial port on the hub's.

       cc -o desk desk.c -lsimavr          (Debian: apt-get install gcc libsimavr-dev)
       ./desk lamp.elf HUB PORT

   It calls again when the connection ends, as a serial server does; what the chip says meanwhile is lost.
   What the chip keeps in its EEPROM is in lamp.elf.eeprom, and there again the next time. */
#define _GNU_SOURCE
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <simavr/avr_eeprom.h>
#include <simavr/avr_uart.h>
#include <simavr/sim_avr.h>
#include <simavr/sim_elf.h>

#define HZ 16000000
#define SLICE_CYCLES (HZ / 1000) /* then it waits for the clock on the wall */
#define CALL_MS 500
#define EEPROM_BYTES 1024

static const char *hub, *port;
static char kept_in[4096];
static unsigned char kept[EEPROM_BYTES];
static int line = -1;
static int ready = 1;                  /* the chip can take a byte */
static unsigned char in[512], out[512];
static size_t taken, have, said;

static void call(void) {
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *at;
    int on = 1;
    if (getaddrinfo(hub, port, &hints, &at))
        return;
    line = socket(at->ai_family, SOCK_STREAM, 0);
    setsockopt(line, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (connect(line, at->ai_addr, at->ai_addrlen)) {
        close(line);
        line = -1;
    }
    freeaddrinfo(at);
    taken = have = said = 0;
}

static void hang_up(void) {
    close(line);
    line = -1;
}

static void from_chip(struct avr_irq_t *irq, uint32_t byte, void *unused) {
    (void)irq, (void)unused;
    if (line >= 0 && said < sizeof out)
        out[said++] = (unsigned char)byte;
}

static void chip_ready(struct avr_irq_t *irq, uint32_t value, void *is) {
    (void)irq, (void)value;
    ready = is != NULL;
}

static long long now_us(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000LL + now.tv_nsec / 1000;
}

/* Carry bytes both ways; waits as long as the chip is ahead of time. */
static void carry(struct avr_irq_t *to_chip, int wait_ms) {
    struct pollfd wait = {line, (short)(taken == have ? POLLIN : 0), 0};
    ssize_t count;
    if (line >= 0 && said && send(line, out, said, MSG_NOSIGNAL) < 0)
        hang_up();
    said = 0;
    if (poll(&wait, 1, wait_ms) > 0 && line >= 0) {
        count = recv(line, in, sizeof in, 0);
        if (count <= 0)
            hang_up();
        taken = 0;
        have = count > 0 ? (size_t)count : 0;
    }
    while (ready && taken < have)
        avr_raise_irq(to_chip, in[taken++]);
}

static unsigned char *eeprom_of(avr_t *avr) {
    avr_eeprom_desc_t all = {.ee = NULL, .offset = 0, .size = EEPROM_BYTES};
    avr_ioctl(avr, AVR_IOCTL_EEPROM_GET, &all);
    return all.ee;
}

static void remember(unsigned char *eeprom) {
    FILE *file = fopen(kept_in, "rb");
    if (!file)
        return;
    if (fread(kept, 1, sizeof kept, file) == sizeof kept)
        memcpy(eeprom, kept, sizeof kept);
    fclose(file);
}

static void keep(const unsigned char *eeprom) {
    FILE *file;
    if (!memcmp(kept, eeprom, sizeof kept) || !(file = fopen(kept_in, "wb")))
        return;
    memcpy(kept, eeprom, sizeof kept);
    fwrite(kept, 1, sizeof kept, file);
    fclose(file);
}

int main(int count, char **words) {
    elf_firmware_t firmware = {0};
    long long began, called, ahead_us;
    uint32_t flags = 0;
    unsigned char *eeprom;
    avr_t *avr;
    if (count < 4 || elf_read_firmware(words[1], &firmware)) {
        fprintf(stderr, "usage: %s FIRMWARE.elf HUB PORT\n", words[0]);
        return 2;
    }
    hub = words[2], port = words[3];
    avr = avr_make_mcu_by_name("atmega328p");
    avr_init(avr);
    firmware.frequency = HZ;
    avr_load_firmware(avr, &firmware);
    avr_ioctl(avr, AVR_IOCTL_UART_SET_FLAGS('0'), &flags); /* nothing of it on the screen */
    avr_irq_register_notify(avr_io_getirq(avr, AVR_IOCTL_UART_GETIRQ('0'), UART_IRQ_OUTPUT), from_chip, NULL);
    avr_irq_register_notify(avr_io_getirq(avr, AVR_IOCTL_UART_GETIRQ('0'), UART_IRQ_OUT_XON), chip_ready, &ready);
    avr_irq_register_notify(avr_io_getirq(avr, AVR_IOCTL_UART_GETIRQ('0'), UART_IRQ_OUT_XOFF), chip_ready, NULL);
    snprintf(kept_in, sizeof kept_in, "%s.eeprom", words[1]);
    eeprom = eeprom_of(avr);
    remember(eeprom);
    call();
    began = called = now_us();
    for (;;) {
        avr_cycle_count_t until = avr->cycle + SLICE_CYCLES;
        while (avr->cycle < until)
            if (avr_run(avr) == cpu_Crashed)
                return 1;
        if (line < 0 && now_us() - called > CALL_MS * 1000LL) {
            call();
            called = now_us();
        }
        keep(eeprom);
        ahead_us = (long long)(avr->cycle / (HZ / 1000000)) - (now_us() - began);
        carry(avr_io_getirq(avr, AVR_IOCTL_UART_GETIRQ('0'), UART_IRQ_INPUT), ahead_us > 1000 ? (int)(ahead_us / 1000) : 0);
    }
}
