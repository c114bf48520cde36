/* Scores of the images in the file `images`, into the file `scores`, and the bytes of stack that one took, into the file
   `stack`: on a machine without an operating system, whose debugger (QEMU) reads and writes files by semihosting. */

extern uint32_t stack_low[], stack_high[], data_from[], data_to[], data_end[], bss_start[], bss_end[];

static intptr_t semihost(intptr_t operation, const void *block)
{
#ifdef __riscv
    register intptr_t a0 __asm__("a0") = operation;
    register const void *a1 __asm__("a1") = block;
    __asm__ volatile(
        ".option push\n.option norvc\n.balign 16\nslli x0, x0, 0x1f\nebreak\nsrai x0, x0, 7\n.option pop"
        : "+r"(a0)
        : "r"(a1)
        : "memory");
    return a0;
#else
    register intptr_t r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = block;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
#endif
}

static intptr_t opened(const char *name, intptr_t length, intptr_t mode)
{
    const intptr_t block[3] = {(intptr_t)name, mode, length};
    return semihost(1, block);
}

static intptr_t moved(intptr_t operation, intptr_t file, const void *bytes, intptr_t count)
{
    const intptr_t block[3] = {file, (intptr_t)bytes, count};
    return semihost(operation, block);
}

static void ended(void)
{
    semihost(0x18, (const void *)0x20026);
    for (;;) {
    }
}

static uint32_t stack_of_one(const uint8_t *image, int32_t *scores)
{
    uint32_t here;
    volatile uint32_t *word;
    for (word = stack_low; word + 32 < &here; word++) *word = 0xa5a5a5a5u;
    RUN(image, scores);
    for (word = stack_low; *word == 0xa5a5a5a5u; word++) {
    }
    return (uint32_t)((uintptr_t)&here - (uintptr_t)word);
}

static void run(void)
{
    static uint8_t image[INPUTS];
    static int32_t scores[SCORES];
    const intptr_t from = opened("images", 6, 1), to = opened("scores", 6, 5), stack = opened("stack", 5, 5);
    const uint32_t deep = stack_of_one(image, scores);
    moved(5, stack, &deep, 4);
    while (moved(6, from, image, INPUTS) == 0) {
        RUN(image, scores);
        moved(5, to, scores, 4 * SCORES);
    }
    ended();
}

void reset(void)
{
    uint32_t *to;
    const uint32_t *from = data_from;
    for (to = data_to; to < data_end;) *to++ = *from++;
    for (to = bss_start; to < bss_end;) *to++ = 0;
    run();
}

#ifdef __riscv
__asm__(".section .vectors, \"ax\"\n.globl start\nstart: la sp, stack_high\nj reset\n.text");
#else
__attribute__((section(".vectors"), used)) static const void *const vectors[2] = {stack_high, (const void *)reset};
#endif
