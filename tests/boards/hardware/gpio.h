/* Of the Pico SDK. */
#include <stdbool.h>

typedef unsigned int uint;
#define GPIO_OUT true

void gpio_init(uint pin);
void gpio_set_dir(uint pin, bool out);
bool gpio_get(uint pin);
void gpio_put(uint pin, bool value);
