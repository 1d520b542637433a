/* Lets Criterion 2.4.1 run under ThreadSanitizer. Its sandbox (BoxFort) maps an arena at a fixed address that it draws with
 * rand_r() from a range that is nearly all TSan's shadow, and gives up: "Could not initialize inheritable arena". The test
 * program's own rand_r, which libcriterion finds first, moves the draw into the part that TSan leaves to programs: base
 * 0x200000000000 plus 16 MiB times what we return, just below where position-independent programs lie. */
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define UNDER_TSAN
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define UNDER_TSAN
#endif

#ifdef UNDER_TSAN
__attribute__((visibility("default"))) int rand_r(unsigned *seed);
int rand_r(unsigned *seed)
{
    enum { FIRST = 0x350000, COUNT = 0x4000 };
    *seed = *seed * 1103515245u + 12345u;
    return (int)(FIRST + (*seed >> 8) % COUNT);
}

/* What meson's environment says too, for a test program that is started by hand. die_after_fork: workers are forked from a
 * process with threads (Criterion's), and TSan would refuse them threads of their own. */
__attribute__((visibility("default"))) const char *__tsan_default_options(void);
const char *__tsan_default_options(void)
{
    return "die_after_fork=0:halt_on_error=1:exitcode=66:second_deadlock_stack=1";
}
#endif

typedef int not_an_empty_file;
