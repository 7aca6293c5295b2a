/* Of the Pico SDK. */
#include <stdbool.h>

typedef unsigned int uint;
typedef struct {
  uint size, request;
  bool read_increment, write_increment;
} dma_channel_config;
enum { DMA_SIZE_8 };

int dma_claim_unused_channel(bool required);
dma_channel_config dma_channel_get_default_config(uint channel);
void channel_config_set_transfer_data_size(dma_channel_config *config, uint size);
void channel_config_set_read_increment(dma_channel_config *config, bool increment);
void channel_config_set_write_increment(dma_channel_config *config, bool increment);
void channel_config_set_dreq(dma_channel_config *config, uint request);
void dma_channel_configure(uint channel, const dma_channel_config *config, volatile void *target,
                           const volatile void *source, uint count, bool start);
void dma_channel_set_write_addr(uint channel, volatile void *target, bool start);
void dma_channel_wait_for_finish_blocking(uint channel);
