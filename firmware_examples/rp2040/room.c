/* A thermostat on a bare RP2040 (a Raspberry Pi Pico): it learns to hold 21 °C in a room that loses heat.

   No library, no operating system: UART0 on the pins GP0 and GP1 is the link, the timer the clock, and nothing
   interrupts. GP25, on a Pico the lamp, is the heater. The room is simulated; on a machine, `live` changes. */
#include <stdint.h>

#include "../c/sheepfold.h"

#ifndef DEVICE
#define DEVICE "room-1"
#endif
#ifndef KEY
#error "give the agent's key: -DKEY='\"…\"'"
#endif
#define WANTED 21.0f /* °C */
#define OUTSIDE 5.0f

/* RP2040 datasheet: 2.14 resets, 2.15 clocks, 2.16 crystal, 2.17 ring oscillator, 2.19 pins, 4.2 UART,
   4.6 timer, 4.7 watchdog. */
#define AT(address) (*(volatile uint32_t *)(address))
#define RESET_CLEAR AT(0x4000f000)
#define RESET_DONE AT(0x4000c008)
#define CRYSTAL_CTRL AT(0x40024000)
#define CRYSTAL_STATUS AT(0x40024004)
#define CRYSTAL_STARTUP AT(0x4002400c)
#define CLK_REF_CTRL AT(0x40008030)
#define CLK_REF_SELECTED AT(0x40008038)
#define CLK_SYS_CTRL AT(0x4000803c)
#define CLK_SYS_SELECTED AT(0x40008044)
#define CLK_PERI_CTRL AT(0x40008048)
#define WATCHDOG_TICK AT(0x4005802c)
#define TIMER_US AT(0x40054028)
#define RANDOM_BIT AT(0x4006001c)
#define PIN_CTRL(pin) AT(0x40014004 + 8 * (pin))
#define PINS_SET AT(0xd0000014)
#define PINS_CLEAR AT(0xd0000018)
#define PINS_OUT AT(0xd0000024)
#define UART_DATA AT(0x40034000)
#define UART_STATE AT(0x40034018) /* 16: nothing has come, 32: no room to send */
#define UART_WHOLE AT(0x40034024)
#define UART_PARTS AT(0x40034028)
#define UART_LINE AT(0x4003402c)
#define UART_CTRL AT(0x40034030)

#define HEATER 25
#define NEEDED (1u << 5 | 1u << 8 | 1u << 21 | 1u << 22) /* pins, their pads, timer, UART0 */

static sheep hub;
static float room[1] = {17}; /* °C */
static uint8_t ring[64], ring_in, ring_out; /* what came while a packet went out */

static uint16_t now(void) {
    static uint32_t counted;
    static uint16_t ms;
    while (TIMER_US - counted >= 1000) {
        counted += 1000;
        ms++;
    }
    return ms;
}

static void listen(void) {
    if (!(UART_STATE & 16))
        ring[ring_in++ % sizeof ring] = (uint8_t)UART_DATA;
}

static int receive(void) {
    listen();
    return ring_out == ring_in ? -1 : ring[ring_out++ % sizeof ring];
}

static void put(void *unused, uint8_t byte) {
    (void)unused;
    while (UART_STATE & 32)
        listen();
    UART_DATA = byte;
}

/* --- the room ----------------------------------------------------------------------------------- */

static void live(int heat) { /* on a machine: wait, and read the thermometer */
    if (heat)
        PINS_SET = 1 << HEATER;
    else
        PINS_CLEAR = 1 << HEATER;
    room[0] += 0.02f * (OUTSIDE - room[0]) + (heat ? 0.8f : 0);
    hub.reward = room[0] > WANTED ? WANTED - room[0] : room[0] - WANTED;
    sheep_observe(&hub, now(), SHEEP_REWARD);
}

/* --- the board ---------------------------------------------------------------------------------- */

static void start_clocks(void) {
    CRYSTAL_STARTUP = 47; /* 1 ms, in units of 256 of its 12 MHz */
    CRYSTAL_CTRL = 0xfab << 12 | 0xaa0;
    while (!(CRYSTAL_STATUS & 1u << 31)) {
    }
    CLK_SYS_CTRL = 0; /* the processor runs by the reference, and that by the crystal */
    while (CLK_SYS_SELECTED != 1) {
    }
    CLK_REF_CTRL = 2;
    while (CLK_REF_SELECTED != 4) {
    }
    CLK_PERI_CTRL = 1 << 11 | 4 << 5;
    WATCHDOG_TICK = 1 << 9 | 12; /* the timer counts each twelfth */
    RESET_CLEAR = NEEDED;
    while ((RESET_DONE & NEEDED) != NEEDED) {
    }
}

/* A boot number not used before: 32 bits of the ring oscillator, each after some of its turns. */
static uint32_t boot_number(void) {
    uint32_t number = 0, start;
    int i;
    for (i = 0; i < 32; i++) {
        number = number << 1 | (RANDOM_BIT & 1);
        for (start = TIMER_US; TIMER_US - start < 20;) {
        }
    }
    return number;
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
    start_clocks();
    UART_WHOLE = 6, UART_PARTS = 33; /* 12 MHz / 16 / 115,200 baud, the rest in 64ths */
    UART_LINE = 3 << 5 | 1 << 4;     /* 8 bits, with FIFOs */
    UART_CTRL = 1 << 9 | 1 << 8 | 1;
    PIN_CTRL(0) = PIN_CTRL(1) = 2; /* UART0 */
    PIN_CTRL(HEATER) = 5;          /* ours */
    PINS_OUT = 1 << HEATER;
    hub.device = DEVICE, hub.key = KEY, hub.put = put, hub.boot = digits(boot_number());
    hub.values = room, hub.count = 1;
    sheep_observe(&hub, now(), 0);
    for (;;)
        switch (sheep_run(&hub, now(), receive())) {
        case SHEEP_ACTION:
            live(sheep_choice(&hub) == 1);
            break;
        case SHEEP_FALLBACK: /* alone it does what thermostats do */
            live(room[0] < WANTED);
            break;
        }
}
