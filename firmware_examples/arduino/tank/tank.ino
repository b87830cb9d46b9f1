// A tank that learns to keep its level, on any board with an Arduino core and any network with a Client:
// WiFi on ESP8266, ESP32 and others, Ethernet, a modem; on an Uno the serial port itself.
// Put sheepfold.h (from ../../c) beside this file, and your hub's address, device and key below.
#include <Arduino.h>
#include <Client.h>

#include "sheepfold.h"

#ifndef HUB
#define HUB "192.168.1.10"
#define PORT 1883
#define DEVICE "tank-1"
#define KEY "…"
#endif
#define WANTED 2.0f

#ifdef ARDUINO_ARCH_AVR
#include <EEPROM.h>

// The serial port as a Client: whatever is on its other end carries bytes to the hub.
class SerialClient : public Client {
public:
    int connect(IPAddress, uint16_t) { return 1; }
    int connect(const char *, uint16_t) { return 1; }
    size_t write(uint8_t byte) { return Serial.write(byte); }
    size_t write(const uint8_t *bytes, size_t count) { return Serial.write(bytes, count); }
    int available() { return Serial.available(); }
    int read() { return Serial.read(); }
    int read(uint8_t *bytes, size_t count) { return Serial.readBytes(bytes, count); }
    int peek() { return Serial.peek(); }
    void flush() { Serial.flush(); }
    void stop() {}
    uint8_t connected() { return 1; }
    operator bool() { return true; }
} net;

static uint32_t boot_number() {
    uint16_t boots;
    EEPROM.get(0, boots);
    EEPROM.put(0, ++boots);
    return boots;
}
#else
#if defined(ESP8266)
#include <ESP8266WiFi.h>
#else
#include <WiFi.h>
#endif
WiFiClient net;

static uint32_t boot_number() { // analog noise will do where there is no better source
    uint32_t number = micros();
    for (int i = 0; i < 32; i++)
        number = number << 1 ^ analogRead(A0) ^ micros() ^ number >> 31;
    return number;
}
#endif

static Client &network = net;
static sheep hub;
static float level[1] = {1};
static bool up;

// A packet goes out in one piece: on WiFi each piece is a frame of its own.
static uint8_t out[64];
static uint8_t waiting;

static void flush() {
    if (waiting)
        network.write(out, waiting);
    waiting = 0;
}

static void put(void *, uint8_t byte) {
    out[waiting++] = byte;
    if (waiting == sizeof out)
        flush();
}

static void pump(int32_t speed) {
    level[0] += 0.05f * speed - 0.04f * sqrtf(level[0]); // on a board: set the pump, wait, read the level
    if (level[0] < 0)
        level[0] = 0;
    hub.reward = -fabsf(level[0] - WANTED);
    sheep_observe(&hub, millis(), SHEEP_REWARD);
}

void setup() {
    static char boot[11];
    Serial.begin(115200);
    hub.device = DEVICE, hub.key = KEY, hub.put = put, hub.boot = ultoa(boot_number(), boot, 10);
    hub.values = level, hub.count = 1;
    up = network.connect(HUB, PORT);
    sheep_observe(&hub, millis(), 0);
}

void loop() {
    if (up && !network.connected()) {
        up = false;
        sheep_closed(&hub);
    }
    switch (sheep_run(&hub, millis(), network.available() ? network.read() : -1)) {
    case SHEEP_ACTION:
        pump(sheep_choice(&hub));
        break;
    case SHEEP_FALLBACK: // alone it refills what flows out
        pump(1);
        break;
    case SHEEP_LOST:
        network.stop();
        waiting = 0;
        up = network.connect(HUB, PORT);
        break;
    }
    flush();
}
