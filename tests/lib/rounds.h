/* How often a test repeats what has to be repeated: the one place where slow builds do less. No test is left out there, each
 * is only shorter. */
#ifndef TESTS_LIB_ROUNDS_H
#define TESTS_LIB_ROUNDS_H

#if defined(__has_feature)
#define ROUNDS_HAS_FEATURE(x) __has_feature(x)
#else
#define ROUNDS_HAS_FEATURE(x) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || ROUNDS_HAS_FEATURE(address_sanitizer)
#define ROUNDS_SLOWER 4
#elif defined(__SANITIZE_THREAD__) || ROUNDS_HAS_FEATURE(thread_sanitizer)
#define ROUNDS_SLOWER 8
#else
#define ROUNDS_SLOWER 1
#endif

/* ROUNDS(200): 200, or a sanitizer's share of it; at least 1. */
#define ROUNDS(n) ((n) > ROUNDS_SLOWER ? (n) / ROUNDS_SLOWER : 1)

#endif
