/* Of the Pico SDK; instructions are encoded as in the data sheet of RP2040. */
#include <stdbool.h>
#include <stdint.h>

typedef unsigned int uint;
typedef struct {
  const volatile uint32_t rxf[4];
} pio_hw_t;
typedef pio_hw_t *PIO;
typedef struct {
  const uint16_t *instructions;
  uint8_t length;
  int8_t origin;
} pio_program_t;
typedef struct {
  uint first, last, jump_pin, pins, threshold;
  bool right, push;
} pio_sm_config;
enum pio_src_dest { pio_pins };
enum pio_fifo_join { PIO_FIFO_JOIN_RX = 2 };

extern PIO pio0;

static inline uint pio_encode_wait_gpio(bool high, uint pin) { return 0x2000u | (uint)high << 7 | pin; }
static inline uint pio_encode_jmp(uint address) { return address; }
static inline uint pio_encode_jmp_pin(uint address) { return 6u << 5 | address; }
static inline uint pio_encode_in(enum pio_src_dest source, uint bits) { return 0x4000u | (uint)source << 5 | bits; }

int pio_add_program(PIO pio, const pio_program_t *program);
pio_sm_config pio_get_default_sm_config(void);
void sm_config_set_wrap(pio_sm_config *config, uint first, uint last);
void sm_config_set_jmp_pin(pio_sm_config *config, uint pin);
void sm_config_set_in_pins(pio_sm_config *config, uint pin);
void sm_config_set_in_shift(pio_sm_config *config, bool right, bool push, uint threshold);
void sm_config_set_fifo_join(pio_sm_config *config, enum pio_fifo_join join);
int pio_sm_init(PIO pio, uint machine, uint first, const pio_sm_config *config);
uint pio_get_dreq(PIO pio, uint machine, bool sends);
void pio_sm_clear_fifos(PIO pio, uint machine);
void pio_sm_set_enabled(PIO pio, uint machine, bool enabled);
