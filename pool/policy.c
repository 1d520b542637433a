/* What users say about items that take too long or fail: checked, completed by what the pool says, and put into the core's terms.
 *
 * Any thread, no lock, no state. What cannot be meant (a negative time, more than all per cent) is MP_EINVAL with the option's
 * name. */
#include "pool/policy.h"
#include "pool/clock.h"
#include "pool/failure.h"

#define ON_ALL (MP_ON_FAILED | MP_ON_CRASHED | MP_ON_TIMEDOUT | MP_ON_LOST)
_Static_assert((int)MP_ON_FAILED == MP__RETRY_FAILED && (int)MP_ON_CRASHED == MP__RETRY_CRASHED &&
                   (int)MP_ON_TIMEDOUT == MP__RETRY_TIMEDOUT && (int)MP_ON_LOST == MP__RETRY_LOST,
               "one set of bits");

static mp_status check_seconds(double seconds, const char *name, mp_error *error)
{
    if (seconds >= 0) /* not so for what is not a number */
        return MP_OK;
    return mp__failure(error, MP_EINVAL, "%s is %g: it must be a number of seconds, or 0 for the default", name, seconds);
}

static mp_status check_retries(const mp_policy *policy, mp_error *error)
{
    if (policy->retries < MP_NO_RETRY)
        return mp__failure(error, MP_EINVAL,
                           ".retries is %d: it must be a number of further runs, 0 for the default, or MP_NO_RETRY",
                           policy->retries);
    if (policy->retry_on & ~(unsigned)ON_ALL)
        return mp__failure(error, MP_EINVAL,
                           ".retry_on is %#x: it must be made of MP_ON_FAILED, MP_ON_CRASHED, MP_ON_TIMEDOUT, MP_ON_LOST",
                           policy->retry_on);
    return check_seconds(policy->retry_delay, ".retry_delay", error);
}

static mp_status check_stop(const mp_policy *policy, size_t n, mp_error *error)
{
    if (policy->stop_at < 0)
        return mp__failure(error, MP_EINVAL, ".stop_at is %td: it must be a number of failed items, or 0 for none",
                           policy->stop_at);
    if (!(policy->stop_at_percent >= 0 && policy->stop_at_percent <= 100))
        return mp__failure(error, MP_EINVAL, ".stop_at_percent is %g: it must be from 0 to 100", policy->stop_at_percent);
    if (policy->stop_at_percent > 0 && n == SIZE_MAX)
        return mp__failure(error, MP_EINVAL, ".stop_at_percent is of a stream, whose length nobody knows: use .stop_at");
    return MP_OK;
}

static mp_status check(const mp_policy *policy, size_t n, mp_error *error)
{
    mp_status status = check_seconds(policy->timeout, ".timeout", error);
    if (!status)
        status = check_seconds(policy->deadline, ".deadline", error);
    if (!status)
        status = check_retries(policy, error);
    return status ? status : check_stop(policy, n, error);
}

static const uint64_t longest = UINT64_MAX / 4; /* a century and a half: what is longer is for ever */

/* What is more than nothing, but less than can be told, is the least that can. */
static uint64_t nanoseconds(double seconds)
{
    double ns = seconds * 1e9;
    if (ns >= (double)longest)
        return longest;
    return ns > 0 && ns < 1 ? 1 : (uint64_t)ns;
}

/* The same, where 0 is for ever. */
static uint64_t limit(double seconds)
{
    uint64_t ns = nanoseconds(seconds);
    return ns < longest ? ns : 0;
}

mp_status mp__policy_defaults_take(mp__policy_defaults *defaults, const mp_policy *policy, double grace, mp_error *error)
{
    mp_status status = check(policy, SIZE_MAX, error);
    if (!status)
        status = check_seconds(grace, ".grace", error);
    if (status)
        return status;
    *defaults = (mp__policy_defaults){.policy = *policy, .grace_ns = grace > 0 ? nanoseconds(grace) : MP__GRACE_NS};
    return MP_OK;
}

/* The smaller of the two bounds; the second is on the failures that are still fine. */
static size_t stop_at(const mp_policy *policy, size_t n)
{
    size_t least = (size_t)policy->stop_at;
    if (!(policy->stop_at_percent > 0))
        return least;
    size_t fine = (size_t)((double)n * policy->stop_at_percent / 100);
    return least && least <= fine ? least : fine + 1;
}

mp_status mp__policy_take(const mp__policy_defaults *defaults, const mp_policy *policy, size_t n, mp__core_job *job,
                          mp_error *error)
{
    mp_status status = check(policy, n, error);
    if (status)
        return status;
    const mp_policy *ours = &defaults->policy;
    int retries = policy->retries ? policy->retries : ours->retries;
    unsigned on = policy->retry_on ? policy->retry_on : ours->retry_on;
    job->timeout_ns = limit(policy->timeout > 0 ? policy->timeout : ours->timeout);
    job->grace_ns = defaults->grace_ns;
    job->deadline = limit(policy->deadline) ? mp__clock_deadline(policy->deadline) : 0;
    job->retries = retries > 0 ? (uint32_t)retries : 0;
    job->retry_on = on ? on : ON_ALL;
    job->retry_ns = nanoseconds(policy->retry_delay > 0 ? policy->retry_delay : ours->retry_delay);
    job->stop_at = stop_at(policy, n);
    return MP_OK;
}
