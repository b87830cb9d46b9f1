/* A tank that learns to keep its level, on a bare RISC-V (rv32imac; QEMU's "virt" board).

   No library, no operating system: the serial port is the link, the timer's counter the clock, and nothing
   interrupts. The tank is simulated; on a machine, `pump` changes. */
#include <stdint.h>

#include "../c/sheepfold.h"

#ifndef DEVICE
#define DEVICE "tank-1"
#endif
#ifndef KEY
#error "give the agent's key: -DKEY='\"…\"'"
#endif
#define WANTED 2.0f /* m */

#define TICKS_A_MS 10000 /* of the timer, 10 MHz */
#define TIMER (*(volatile uint32_t *)0x0200bff8)
#define UART_DATA (*(volatile uint8_t *)0x10000000)
#define UART_FIFO (*(volatile uint8_t *)0x10000002)
#define UART_LINE (*(volatile uint8_t *)0x10000003)
#define UART_STATE (*(volatile uint8_t *)0x10000005) /* 1: a byte has come, 32: room to send */
#define CALENDAR_LOW (*(volatile uint32_t *)0x00101000)
#define CALENDAR_HIGH (*(volatile uint32_t *)0x00101004)

static sheep hub;
static float level[1] = {1};
static uint8_t ring[64], ring_in, ring_out; /* what came while a packet went out */

static uint16_t now(void) {
    static uint32_t counted, ms;
    uint32_t passed = (TIMER - counted) / TICKS_A_MS;
    counted += passed * TICKS_A_MS;
    return (uint16_t)(ms += passed);
}

static void listen(void) {
    if (UART_STATE & 1)
        ring[ring_in++ % sizeof ring] = UART_DATA;
}

static int receive(void) {
    listen();
    return ring_out == ring_in ? -1 : ring[ring_out++ % sizeof ring];
}

static void put(void *unused, uint8_t byte) {
    (void)unused;
    while (!(UART_STATE & 32))
        listen();
    UART_DATA = byte;
}

/* --- the tank ----------------------------------------------------------------------------------- */

static float root(float number) { /* by Newton's method, from above */
    float guess = number > 1 ? number : 1;
    int i;
    for (i = 0; i < 12; i++)
        guess = (guess + number / guess) / 2;
    return guess;
}

static void pump(int32_t speed) { /* on a machine: set the pump, wait, read the level */
    level[0] += 0.05f * (float)speed - 0.04f * root(level[0]);
    if (level[0] < 0)
        level[0] = 0;
    hub.reward = level[0] > WANTED ? WANTED - level[0] : level[0] - WANTED;
    sheep_observe(&hub, now(), SHEEP_REWARD);
}

/* --- the board ---------------------------------------------------------------------------------- */

/* A boot number not used before: QEMU's calendar, in units of 2^24 ns, 17 ms, for a board may start twice in a second.
   A board counts in flash. */
static uint32_t boot_number(void) {
    uint32_t low = CALENDAR_LOW; /* reading it holds the other */
    return CALENDAR_HIGH << 8 | low >> 24;
}

static const char *digits(uint32_t number) {
    static char text[11];
    char *at = text + 10;
    do
        *--at = (char)('0' + number % 10);
    while (number /= 10);
    return at;
}

int main(void) {
    UART_LINE = 3; /* 8 bits, no parity, and the speed that it has */
    UART_FIFO = 1;
    hub.device = DEVICE, hub.key = KEY, hub.put = put, hub.boot = digits(boot_number());
    hub.values = level, hub.count = 1;
    sheep_observe(&hub, now(), 0);
    for (;;)
        switch (sheep_run(&hub, now(), receive())) {
        case SHEEP_ACTION:
            pump(sheep_choice(&hub));
            break;
        case SHEEP_FALLBACK: /* alone it refills what flows out */
            pump(1);
            break;
        }
}
