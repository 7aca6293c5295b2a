/* What the programs for STM32F4 in docs/microcontrollers.md takes of ST's library; stm32f4.c stands in for the board. */
#include <stdint.h>

typedef struct DMA_HandleTypeDef {
  void (*XferHalfCpltCallback)(struct DMA_HandleTypeDef *);
  void (*XferCpltCallback)(struct DMA_HandleTypeDef *);
} DMA_HandleTypeDef;
typedef struct {
  volatile uint32_t CR, DR;
} DCMI_TypeDef;
typedef struct {
  DCMI_TypeDef *Instance;
  DMA_HandleTypeDef *DMA_Handle;
} DCMI_HandleTypeDef;
typedef enum { GPIO_PIN_RESET, GPIO_PIN_SET } GPIO_PinState;
typedef enum { HAL_OK, HAL_ERROR } HAL_StatusTypeDef;

#define DCMI_CR_CAPTURE 1u
#define DCMI_CR_CM 2u
#define DCMI_MODE_SNAPSHOT 2u
#define DCMI_CR_ENABLE 0x4000u
#define __HAL_DCMI_ENABLE(handle) ((handle)->Instance->CR |= DCMI_CR_ENABLE)
#define SET_BIT(word, bit) ((word) |= (bit))
#define MODIFY_REG(word, clear, set) ((word) = ((word) & ~(clear)) | (set))
#define GPIOA 0
#define GPIO_PIN_5 0x20u

HAL_StatusTypeDef HAL_DMA_Start_IT(DMA_HandleTypeDef *dma, uint32_t source, uint32_t target, uint32_t words);
HAL_StatusTypeDef HAL_DCMI_Start_DMA(DCMI_HandleTypeDef *handle, uint32_t mode, uint32_t target, uint32_t words);
HAL_StatusTypeDef HAL_DCMI_Stop(DCMI_HandleTypeDef *handle);
uint32_t HAL_GetTick(void);
void HAL_DCMI_FrameEventCallback(DCMI_HandleTypeDef *handle);
void HAL_GPIO_TogglePin(int port, uint32_t pin);
void HAL_GPIO_WritePin(int port, uint32_t pin, GPIO_PinState state);
