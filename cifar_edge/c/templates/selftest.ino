/* SPDX-License-Identifier: Apache-2.0 */
/* The self-test on an Arduino: what it prints on the serial port, `cifar-edge verify-c LOG` compares with the model. */
#include <stdarg.h>
#include <stdio.h>

#include <network.h>

static int print(const char *format, ...) {
  char text[256];
  va_list arguments;
  va_start(arguments, format);
  const int length = vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  Serial.print(text);
  return length;
}

#define NETWORK_VARIANT traced /* other names than those of the library */
#define NETWORK_PRINT print
#define NETWORK_SELFTEST selftest
#include <selftest.c>

void setup() {
  Serial.begin(115200);
  while (!Serial) {
  }
  selftest();
}

void loop() {}
