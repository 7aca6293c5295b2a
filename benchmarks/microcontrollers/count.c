/* A plugin of qemu that counts the instructions it runs. Prints their number so far wherever a program for Arm's Thumb has
 * the instruction mov r10, r10, which no compiler writes, and when it ends. */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* Of qemu-plugin.h, which Debian does not install. */
struct qemu_plugin_tb;
struct qemu_plugin_insn;
void qemu_plugin_register_vcpu_tb_trans_cb(uint64_t id, void (*call)(uint64_t, struct qemu_plugin_tb *));
void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *block, int add, void *number, uint64_t by);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *instruction, void (*call)(unsigned, void *),
                                            int registers, void *data);
void qemu_plugin_register_atexit_cb(uint64_t id, void (*call)(uint64_t, void *), void *data);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *block);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *block, size_t index);
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *instruction);
size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *instruction);
typedef struct {
  const char *target_name; /* more follows */
} qemu_info_t;
int qemu_plugin_version = 1;

static const uint8_t mark[2] = {0xd2, 0x46};
static uint64_t instructions;
static int has_marks; /* the bytes may be another instruction elsewhere, as they are of RISC-V */

static void marked(unsigned processor, void *data) {
  (void)processor;
  (void)data;
  fprintf(stderr, "mark %llu\n", (unsigned long long)instructions);
}

static void translated(uint64_t id, struct qemu_plugin_tb *block) {
  const size_t count = qemu_plugin_tb_n_insns(block);
  size_t i;
  (void)id;
  qemu_plugin_register_vcpu_tb_exec_inline(block, 0, &instructions, count);
  for (i = 0; has_marks && i < count; i++) {
    struct qemu_plugin_insn *instruction = qemu_plugin_tb_get_insn(block, i);
    if (qemu_plugin_insn_size(instruction) == sizeof mark &&
        memcmp(qemu_plugin_insn_data(instruction), mark, sizeof mark) == 0)
      qemu_plugin_register_vcpu_insn_exec_cb(instruction, marked, 0, NULL);
  }
}

static void ended(uint64_t id, void *data) {
  (void)id;
  (void)data;
  fprintf(stderr, "\ninstructions %llu\n", (unsigned long long)instructions);
}

int qemu_plugin_install(uint64_t id, const qemu_info_t *info, int count, char **arguments) {
  has_marks = strcmp(info->target_name, "arm") == 0;
  (void)count;
  (void)arguments;
  qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
  qemu_plugin_register_atexit_cb(id, ended, NULL);
  return 0;
}
