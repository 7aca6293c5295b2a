/* What a program needs on a Cortex-M in qemu: a vector table, its variables in memory, and text to the host. */
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>

extern uint32_t stack_top[], data_load[], data_start[], data_end[], bss_start[], bss_end[];
int main(void);

static int host(int operation, const void *argument) {
  register int r0 __asm__("r0") = operation;
  register const void *r1 __asm__("r1") = argument;
  __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
  return r0;
}

static void leave(int code) {
  const uint32_t block[2] = {0x20026, (uint32_t)code};
  host(0x20, block);
  for (;;) {
  }
}

int host_print(const char *format, ...) {
  char text[256];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  return host(4, text);
}

static void fault(void) {
  host(4, "fault\n");
  leave(3);
}

static void start(void) {
  uint32_t *word, *from = data_load;
#if !defined(__ARM_ARCH_6M__)                      /* a Cortex-M0 has no such register */
  *(volatile uint32_t *)0xe000ed88u |= 0xfu << 20; /* the floating-point and vector unit, where there is one */
  __asm__ volatile("dsb\n\tisb");
#endif
  for (word = data_start; word < data_end; word++) *word = *from++;
  for (word = bss_start; word < bss_end; word++) *word = 0;
  leave(main());
}

__attribute__((naked)) void reset(void) { __asm__ volatile("ldr r0, =%c0\n\tbx r0" : : "i"(start)); }

__attribute__((section(".vectors"), used)) static void *const vectors[16] = {
    stack_top, (void *)reset, (void *)fault, (void *)fault, (void *)fault, (void *)fault, (void *)fault};
