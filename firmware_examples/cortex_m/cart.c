/* A cart that learns to balance a pole, on a bare Cortex-M3 (ARM's MPS2 board, which QEMU emulates).

   No library, no operating system: the first UART is the link, SysTick the clock. The cart is simulated as
   Barto, Sutton and Anderson (1983) describe it; on a machine, `push` and `look` change. */
#include <stdint.h>

#include "../c/sheepfold.h"

#ifndef DEVICE
#define DEVICE "cart-1"
#endif
#ifndef KEY
#error "give the agent's key: -DKEY='\"…\"'"
#endif

#define CLOCK_HZ 25000000
#define UART_DATA (*(volatile uint32_t *)0x40004000)
#define UART_STATE (*(volatile uint32_t *)0x40004004) /* 1: no room to send, 2: a byte has come */
#define UART_CTRL (*(volatile uint32_t *)0x40004008)
#define UART_DIVISOR (*(volatile uint32_t *)0x40004010)
#define SYSTICK_CTRL (*(volatile uint32_t *)0xe000e010)
#define SYSTICK_LOAD (*(volatile uint32_t *)0xe000e014)

static volatile uint32_t ms;
static sheep hub;
static float cart[4]; /* m, m/s, rad, rad/s */
static uint32_t chance = 1;

void tick(void) {
    ms++;
}

static void put(void *unused, uint8_t byte) {
    (void)unused;
    while (UART_STATE & 1) {
    }
    UART_DATA = byte;
}

static int receive(void) {
    return UART_STATE & 2 ? (int)(UART_DATA & 255) : -1;
}

/* --- the cart ----------------------------------------------------------------------------------- */

static float small(void) { /* between -0.05 and 0.05 */
    chance = chance * 1664525 + 1013904223;
    return (float)(int32_t)chance / 2147483648.0f * 0.05f;
}

static void begin(void) {
    int i;
    for (i = 0; i < 4; i++)
        cart[i] = small();
    sheep_observe(&hub, (uint16_t)ms, 0);
}

static void push(int right) { /* 0.02 s of 10 N; angles are small enough for the first terms of a series */
    float angle = cart[2], square = angle * angle;
    float sine = angle * (1 - square / 6 * (1 - square / 20)), cosine = 1 - square / 2 * (1 - square / 12);
    float force = ((right ? 10 : -10) + 0.05f * cart[3] * cart[3] * sine) / 1.1f;
    float turning = (9.8f * sine - cosine * force) / (0.5f * (4 / 3.0f - 0.1f * cosine * cosine / 1.1f));
    float moving = force - 0.05f * turning * cosine / 1.1f;
    int fallen;
    cart[0] += 0.02f * cart[1];
    cart[1] += 0.02f * moving;
    cart[2] += 0.02f * cart[3];
    cart[3] += 0.02f * turning;
    fallen = cart[0] < -2.4f || cart[0] > 2.4f || cart[2] < -0.2095f || cart[2] > 0.2095f;
    hub.reward = 1;
    sheep_observe(&hub, (uint16_t)ms, SHEEP_REWARD | (fallen ? SHEEP_DONE : 0));
}

/* --- the board ---------------------------------------------------------------------------------- */

/* A boot number not used before: under QEMU the time of the computer, by semihosting. A board counts in
   flash, or asks its random number generator. */
static uint32_t boot_number(void) {
    register uint32_t op __asm__("r0") = 0x11; /* SYS_TIME */
    register uint32_t argument __asm__("r1") = 0;
    __asm__ volatile("bkpt 0xab" : "+r"(op) : "r"(argument) : "memory");
    return op;
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
    UART_DIVISOR = CLOCK_HZ / 115200;
    UART_CTRL = 3; /* to send and to receive */
    SYSTICK_LOAD = CLOCK_HZ / 1000 - 1;
    SYSTICK_CTRL = 7; /* count the processor's clock, and interrupt */
    hub.device = DEVICE, hub.key = KEY, hub.put = put, hub.boot = digits(boot_number());
    hub.values = cart, hub.count = 4;
    begin();
    for (;;)
        switch (sheep_run(&hub, (uint16_t)ms, receive())) {
        case SHEEP_ACTION:
            push((int)sheep_choice(&hub));
            break;
        case SHEEP_OVER:
            begin();
            break;
        case SHEEP_FALLBACK: /* alone it pushes to where the pole falls */
            push(cart[2] + cart[3] > 0);
            break;
        }
}
