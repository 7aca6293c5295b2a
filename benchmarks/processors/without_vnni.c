/* A processor with AVX2 alone, played by one with AVX-512, VNNI or AMX: loaded into a process by LD_PRELOAD, this library
 * makes every CPUID instruction stop (Linux: arch_prctl, ARCH_SET_CPUID; Intel's "CPUID faulting"), and answers in its
 * place without those extensions. Libraries that choose their kernels by CPUID, as onnxruntime and compiled C do, then
 * choose those for AVX2, and run at full speed.
 * Programs that would handle SIGSEGV by themselves, as gcc and Python's faulthandler do, are told that they do. */
#define _GNU_SOURCE
#include <asm/prctl.h>
#include <cpuid.h>
#include <dlfcn.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#define BIT(n) (1u << (n))
/* Leaf 7, subleaf 0: AVX512F, DQ, IFMA, PF, ER, CD, BW, VL; VBMI, VBMI2, VNNI, BITALG, VPOPCNTDQ; 4VNNIW, 4FMAPS,
 * VP2INTERSECT, AMX-BF16, AVX512-FP16, AMX-TILE, AMX-INT8 (Intel SDM, volume 2A, CPUID). */
#define LEAF7_EBX (BIT(16) | BIT(17) | BIT(21) | BIT(26) | BIT(27) | BIT(28) | BIT(30) | BIT(31))
#define LEAF7_ECX (BIT(1) | BIT(6) | BIT(11) | BIT(12) | BIT(14))
#define LEAF7_EDX (BIT(2) | BIT(3) | BIT(8) | BIT(22) | BIT(23) | BIT(24) | BIT(25))
/* Subleaf 1: AVX-VNNI, AVX512-BF16, AMX-FP16, AVX-IFMA; AVX-VNNI-INT8, AVX-NE-CONVERT, AMX-COMPLEX, AVX-VNNI-INT16, AVX10. */
#define LEAF7_1_EAX (BIT(4) | BIT(5) | BIT(21) | BIT(23))
#define LEAF7_1_EDX (BIT(4) | BIT(5) | BIT(8) | BIT(10) | BIT(19))

typedef int (*sigaction_function)(int, const struct sigaction *, struct sigaction *);

static int real_sigaction(int number, const struct sigaction *action, struct sigaction *old) {
    return ((sigaction_function)dlsym(RTLD_NEXT, "sigaction"))(number, action, old);
}

int sigaction(int number, const struct sigaction *action, struct sigaction *old) {
    return real_sigaction(number, number == SIGSEGV ? NULL : action, old);
}

sighandler_t signal(int number, sighandler_t handler) {
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART}, old;
    return sigaction(number, &action, &old) ? SIG_ERR : old.sa_handler;
}

static long allow_cpuid(unsigned long allowed) { return syscall(SYS_arch_prctl, ARCH_SET_CPUID, allowed); }

static void answer(int number, siginfo_t *info, void *context) {
    greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
    const unsigned char *code = (const unsigned char *)registers[REG_RIP];
    unsigned leaf = (unsigned)registers[REG_RAX], subleaf = (unsigned)registers[REG_RCX], eax, ebx, ecx, edx;
    (void)info;
    if (code[0] != 0x0f || code[1] != 0xa2) { /* a fault of the program's own: it happens again, without this handler */
        struct sigaction none = {.sa_handler = SIG_DFL};
        real_sigaction(number, &none, NULL);
        return;
    }
    allow_cpuid(1);
    __cpuid_count(leaf, subleaf, eax, ebx, ecx, edx);
    allow_cpuid(0);
    if (leaf == 7 && subleaf == 0) {
        ebx &= ~LEAF7_EBX;
        ecx &= ~LEAF7_ECX;
        edx &= ~LEAF7_EDX;
    } else if (leaf == 7 && subleaf == 1) {
        eax &= ~LEAF7_1_EAX;
        edx &= ~LEAF7_1_EDX;
    }
    registers[REG_RAX] = eax;
    registers[REG_RBX] = ebx;
    registers[REG_RCX] = ecx;
    registers[REG_RDX] = edx;
    registers[REG_RIP] += 2;
}

__attribute__((constructor)) static void begin(void) {
    struct sigaction action = {.sa_sigaction = answer, .sa_flags = SA_SIGINFO | SA_NODEFER};
    if (real_sigaction(SIGSEGV, &action, NULL) || allow_cpuid(0)) {
        fputs("this processor or kernel cannot hide its instructions: CPUID faulting is missing\n", stderr);
        exit(1);
    }
}
