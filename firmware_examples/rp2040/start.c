/* What comes before main on an RP2040 whose program lies in RAM: the boot ROM enters its first byte. */
#include <stdint.h>

extern uint32_t bss_begin, bss_end;
int main(void);

__attribute__((naked, section(".start"))) void start(void) {
    __asm__("ldr r0, =stack_top\n mov sp, r0\n bl begin");
}

__attribute__((used)) void begin(void) {
    uint32_t *to;
    for (to = &bss_begin; to < &bss_end;)
        *to++ = 0;
    main();
}

/* The compiler may call it for what a loop writes. */
void *memset(void *to, int byte, unsigned count) {
    volatile uint8_t *at = to;
    while (count--)
        *at++ = (uint8_t)byte;
    return to;
}
