/* What users say about items that take too long or fail (policy.h), as the core wants it. */
#ifndef MP__POOL_POLICY_H
#define MP__POOL_POLICY_H
#include "pool/core.h"
#include <millpond/error.h>
#include <millpond/policy.h>

/* What a pool says for calls that do not. */
typedef struct mp__policy_defaults {
    mp_policy policy;
    uint64_t grace_ns;
} mp__policy_defaults;

/* Checks what a pool says. MP_EINVAL. */
mp_status mp__policy_defaults_take(mp__policy_defaults *defaults, const mp_policy *policy, double grace, mp_error *error);

/* Checks what a call of `n` items says (SIZE_MAX: nobody knows how many), and writes it into its job; the deadline counts from now.
 * MP_EINVAL. */
mp_status mp__policy_take(const mp__policy_defaults *defaults, const mp_policy *policy, size_t n, mp__core_job *job,
                          mp_error *error);

#endif
