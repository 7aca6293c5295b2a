/* A board with an RP2040 and a camera, whose frames of 320 x 240 pixels come from the standard input: HREF is high for the
 * bytes of a row, and PCLK goes on between the rows. Runs the program of PIO instruction by instruction. Prints each state
 * of the LED. */
#include <stdio.h>
#include <stdlib.h>

#include "hardware/dma.h"
#include "hardware/gpio.h"
#include "hardware/pio.h"

enum { D0 = 6, PCLK = 14, HREF = 15, VSYNC = 16, LED = 25 };
enum { ROWS = 240, BYTES = 640, GAP = 20, CHANNEL = 5, FIRST = 7 };

static pio_hw_t block;
PIO pio0 = &block;

static uint8_t frame[ROWS * BYTES], *target;
static uint16_t code[32];
static pio_sm_config machine_config;
static uint transfers, transferred, pins, program_counter = FIRST;
static bool enabled, ready[32];

void gpio_init(uint pin) { ready[pin] = true; }
void gpio_set_dir(uint pin, bool out) { ready[pin] = ready[pin] && out; }

bool gpio_get(uint pin) {
  static uint calls;
  if (pin != VSYNC) exit(3);
  return ++calls % 3 == 0;
}

void gpio_put(uint pin, bool value) {
  if (pin != LED || !ready[LED]) exit(4);
  printf("%d\n", value);
}

int pio_add_program(PIO pio, const pio_program_t *program) {
  uint i;
  if (pio != pio0 || program->origin != -1) exit(5);
  for (i = 0; i < program->length; i++) /* jumps come first among the instructions, and are to places in the program */
    code[FIRST + i] = (uint16_t)(program->instructions[i] + (program->instructions[i] >> 13 == 0 ? FIRST : 0));
  return FIRST;
}

pio_sm_config pio_get_default_sm_config(void) { return (pio_sm_config){0}; }
void sm_config_set_wrap(pio_sm_config *config, uint first, uint last) { config->first = first, config->last = last; }
void sm_config_set_jmp_pin(pio_sm_config *config, uint pin) { config->jump_pin = pin; }
void sm_config_set_in_pins(pio_sm_config *config, uint pin) { config->pins = pin; }
void sm_config_set_fifo_join(pio_sm_config *config, enum pio_fifo_join join) { (void)config, (void)join; }

void sm_config_set_in_shift(pio_sm_config *config, bool right, bool push, uint threshold) {
  config->right = right;
  config->push = push;
  config->threshold = threshold;
}

int pio_sm_init(PIO pio, uint machine, uint first, const pio_sm_config *config) {
  if (pio != pio0 || machine != 0 || first != FIRST) exit(6);
  machine_config = *config;
  return 0;
}

uint pio_get_dreq(PIO pio, uint machine, bool sends) { return pio == pio0 && machine == 0 && !sends ? 4 : 0; }
void pio_sm_clear_fifos(PIO pio, uint machine) { (void)pio, (void)machine; }
void pio_sm_set_enabled(PIO pio, uint machine, bool on) { enabled = pio == pio0 && machine == 0 && on; }

int dma_claim_unused_channel(bool required) { return required ? CHANNEL : -1; }
dma_channel_config dma_channel_get_default_config(uint channel) { return (dma_channel_config){99, channel, true, false}; }
void channel_config_set_transfer_data_size(dma_channel_config *config, uint size) { config->size = size; }
void channel_config_set_read_increment(dma_channel_config *config, bool on) { config->read_increment = on; }
void channel_config_set_write_increment(dma_channel_config *config, bool on) { config->write_increment = on; }
void channel_config_set_dreq(dma_channel_config *config, uint request) { config->request = request; }

void dma_channel_configure(uint channel, const dma_channel_config *config, volatile void *to,
                           const volatile void *from, uint count, bool start) {
  const bool bytes = config->size == DMA_SIZE_8 && config->write_increment && !config->read_increment;
  if (channel != CHANNEL || !bytes || config->request != 4 || from != &pio0->rxf[0] || start) exit(7);
  target = (uint8_t *)(uintptr_t)to;
  transfers = count;
}

void dma_channel_set_write_addr(uint channel, volatile void *to, bool start) {
  if (channel != CHANNEL || !start) exit(8);
  target = (uint8_t *)(uintptr_t)to;
  transferred = 0;
}

/* Instructions until one waits. */
static void run_machine(void) {
  for (;;) {
    const uint instruction = code[program_counter], argument = instruction & 31;
    uint next = program_counter == machine_config.last ? machine_config.first : program_counter + 1;
    switch (instruction >> 13) {
      case 0:
        if (instruction >> 5 == 0 || (instruction >> 5 == 6 && pins >> machine_config.jump_pin & 1)) next = argument;
        break;
      case 1:
        if ((pins >> argument & 1) != (instruction >> 7 & 1)) return;
        break;
      case 2:
        if (machine_config.right || !machine_config.push || machine_config.threshold != argument) exit(9);
        if (transferred < transfers) target[transferred++] = (uint8_t)(pins >> machine_config.pins);
        break;
      default:
        exit(10);
    }
    program_counter = next;
  }
}

/* A byte on the camera's pins, which change as PCLK falls. */
static void clock_byte(bool valid, uint byte) {
  pins = (uint)valid << HREF | byte << D0;
  run_machine();
  pins |= 1u << PCLK;
  run_machine();
}

void dma_channel_wait_for_finish_blocking(uint channel) {
  uint row, i;
  if (channel != CHANNEL || !enabled) exit(11);
  if (fread(frame, 1, sizeof frame, stdin) != sizeof frame) exit(0);
  for (row = 0; row < ROWS; row++) {
    for (i = 0; i < GAP; i++) clock_byte(false, 0xaa);
    for (i = 0; i < BYTES; i++) clock_byte(true, frame[row * BYTES + i]);
  }
  if (transferred != transfers) exit(12);
}
