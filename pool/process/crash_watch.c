/* Installing the handler of crash.c, when a worker begins.
 *
 * It runs on a stack of its own, for the worker's may be what ran out; threads that a task makes have none, and run it on theirs.
 * Signals are not blocked while it runs: one that is blocked when the processor raises it ends the process unheard. */
#include "pool/process/crash.h"
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <unistd.h>
#include <unwind.h>

enum { STACK = 64 * 1024 };

/* ThreadSanitizer keeps a signal that was sent until the program comes to a call that it knows: a worker would not end when asked, nor
 * when its CPU time is used up. */
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define KEEPS_SIGNALS
#endif
#endif
#if defined(__SANITIZE_THREAD__) || defined(KEEPS_SIGNALS)
static const int watched[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGSYS, SIGTRAP};
#else
static const int watched[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGSYS, SIGTRAP, SIGXCPU, SIGTERM};
#endif

static _Unwind_Reason_Code stop_at_once(struct _Unwind_Context *unwound, void *unused)
{
    (void)unwound;
    (void)unused;
    return _URC_NORMAL_STOP;
}

void mp__crash_watch(mp__crash *area)
{
    static _Alignas(64) char stack[STACK];
    struct sigaction action = {.sa_sigaction = mp__crash_note, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER}, old;
    sigaltstack(&(stack_t){.ss_sp = stack, .ss_size = sizeof stack}, NULL);
    mp__crash_area = area;
    mp__crash_process = getpid();
    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < sizeof watched / sizeof *watched; i++) {
        bool had = sigaction(watched[i], &action, &old) == 0 && (old.sa_flags & SA_SIGINFO || old.sa_handler != SIG_DFL);
        if (had) /* seldom: what is ignored, or a handler of an executed program's own */
            sigaction(watched[i], &old, NULL);
    }
}

/* It binds symbols, which looks through all libraries: so once for all that are forked. */
void mp__crash_warm_up(void)
{
    static atomic_bool warm;
    if (!atomic_load(&warm) && !atomic_exchange(&warm, true)) /* a page that is not written is not copied */
        _Unwind_Backtrace(stop_at_once, NULL);
}
