/* A lamp on a bare ATmega328P: it learns which steps of a dimmer keep a desk equally bright.

   The serial port is the link. The desk is simulated; where a board is wired, two lines say what changes. */
#include <avr/eeprom.h>
#include <avr/interrupt.h>
#include <avr/io.h>
#include <stdlib.h>
#include <util/atomic.h>

#include "../c/sheepfold.h"

#ifndef DEVICE
#define DEVICE "dimmer-1"
#endif
#ifndef KEY
#error "give the agent's key: -DKEY='\"…\"'"
#endif
#define WANTED 0.6f
#define DAYLIGHT 0.2f

static volatile uint16_t ms;
static volatile uint8_t ring[64], ring_in; /* what came while a packet went out */
static uint8_t ring_out;
static float seen[2];                      /* the desk, the lamp */
static sheep hub;

ISR(TIMER0_COMPA_vect) {
    ms++;
}

ISR(USART_RX_vect) {
    ring[ring_in++ % sizeof ring] = UDR0;
}

static uint16_t now(void) {
    uint16_t copy;
    ATOMIC_BLOCK(ATOMIC_RESTORESTATE) copy = ms;
    return copy;
}

static int receive(void) {
    return ring_out == ring_in ? -1 : ring[ring_out++ % sizeof ring];
}

static void put(void *unused, uint8_t byte) {
    (void)unused;
    loop_until_bit_is_set(UCSR0A, UDRE0);
    UDR0 = byte;
}

static void look(void) {
    seen[0] = DAYLIGHT + 0.7f * seen[1]; /* on a board: the ADC of a light sensor, divided by 1023 */
}

static void turn(int32_t way) { /* 0 darker, 1 as it is, 2 brighter */
    seen[1] += 0.05f * (float)(way - 1);
    seen[1] = seen[1] < 0 ? 0 : seen[1] > 1 ? 1 : seen[1];
    OCR2A = (uint8_t)(255 * seen[1]); /* pin 11 of an Arduino, PB3 of the chip */
    look();
    hub.reward = seen[0] > WANTED ? WANTED - seen[0] : seen[0] - WANTED;
    sheep_observe(&hub, now(), SHEEP_REWARD);
}

int main(void) {
    static char boot[6];
    uint16_t boots = eeprom_read_word(0) + 1;
    eeprom_update_word(0, boots);
    utoa(boots, boot, 10);
    UBRR0 = 16, UCSR0A = 1 << U2X0; /* 115,200 baud at 16 MHz */
    UCSR0B = 1 << RXEN0 | 1 << TXEN0 | 1 << RXCIE0;
    TCCR0A = 1 << WGM01, TCCR0B = 1 << CS01 | 1 << CS00, OCR0A = 249, TIMSK0 = 1 << OCIE0A; /* 1 kHz */
    DDRB = 1 << PB3, TCCR2A = 1 << COM2A1 | 1 << WGM21 | 1 << WGM20, TCCR2B = 1 << CS22;    /* PWM */
    sei();
    hub.device = DEVICE, hub.key = KEY, hub.put = put, hub.boot = boot;
    hub.values = seen, hub.count = 2;
    look();
    sheep_observe(&hub, now(), 0);
    for (;;)
        switch (sheep_run(&hub, now(), receive())) {
        case SHEEP_ACTION:
            turn(sheep_choice(&hub));
            break;
        case SHEEP_FALLBACK: /* alone it stays as it is */
            turn(1);
            break;
        }
}
