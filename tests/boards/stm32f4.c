/* A board with an STM32F4 and a camera, whose frames of ROWS x WORDS * 2 pixels come from the standard input, as many rows
 * each millisecond as the first argument says. Prints each state of the LED, and "blinks" where it is toggled. */
#include <stdio.h>
#include <stdlib.h>

#include "stm32f4xx_hal.h"

void watch(void);

static DCMI_TypeDef dcmi;
static DMA_HandleTypeDef dma_of_dcmi;
DCMI_HandleTypeDef hdcmi = {&dcmi, &dma_of_dcmi};

static uint32_t frame[ROWS * WORDS], *buffer, buffer_words, words_in;
static int rows_a_tick;

/* The library's own, where a program has none. */
__attribute__((weak)) void HAL_DCMI_FrameEventCallback(DCMI_HandleTypeDef *handle) { (void)handle; }

HAL_StatusTypeDef HAL_DMA_Start_IT(DMA_HandleTypeDef *dma, uint32_t source, uint32_t target, uint32_t words) {
  if (dma != &dma_of_dcmi || source != (uint32_t)(uintptr_t)&dcmi.DR) exit(3);
  buffer = (uint32_t *)(uintptr_t)target; /* this program lies below 4 GB */
  buffer_words = words;
  words_in = 0;
  return HAL_OK;
}

static void nothing(DMA_HandleTypeDef *dma) { (void)dma; }

HAL_StatusTypeDef HAL_DCMI_Start_DMA(DCMI_HandleTypeDef *handle, uint32_t mode, uint32_t target, uint32_t words) {
  if (words != ROWS * WORDS) return HAL_ERROR;
  dma_of_dcmi.XferHalfCpltCallback = dma_of_dcmi.XferCpltCallback = nothing;
  handle->Instance->CR = DCMI_CR_ENABLE | DCMI_CR_CAPTURE | mode;
  return HAL_DMA_Start_IT(handle->DMA_Handle, (uint32_t)(uintptr_t)&handle->Instance->DR, target, words);
}

HAL_StatusTypeDef HAL_DCMI_Stop(DCMI_HandleTypeDef *handle) {
  handle->Instance->CR = 0;
  return HAL_OK;
}

uint32_t HAL_GetTick(void) {
  static uint32_t tick;
  const uint32_t capturing = DCMI_CR_ENABLE | DCMI_CR_CAPTURE | DCMI_MODE_SNAPSHOT;
  int32_t count;
  if (dcmi.CR == capturing) {
    for (count = 0; count < rows_a_tick * WORDS && words_in < ROWS * WORDS; count++) {
      buffer[words_in % buffer_words] = frame[words_in];
      words_in++;
      if (words_in % buffer_words == 0) dma_of_dcmi.XferCpltCallback(&dma_of_dcmi);
      else if (words_in % (buffer_words / 2) == 0) dma_of_dcmi.XferHalfCpltCallback(&dma_of_dcmi);
      if (words_in == ROWS * WORDS) HAL_DCMI_FrameEventCallback(&hdcmi);
    }
  }
  return tick++;
}

static void check_led(int port, uint32_t pin) {
  if (port != GPIOA || pin != GPIO_PIN_5) exit(4);
}

void HAL_GPIO_WritePin(int port, uint32_t pin, GPIO_PinState state) {
  check_led(port, pin);
  printf("%d\n", state);
}

void HAL_GPIO_TogglePin(int port, uint32_t pin) {
  check_led(port, pin);
  puts("blinks");
}

int main(int count, char **arguments) {
  rows_a_tick = count == 2 ? atoi(arguments[1]) : 1;
  while (fread(frame, 1, sizeof frame, stdin) == sizeof frame) watch();
  return 0;
}
