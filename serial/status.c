/* Names and texts of statuses, out of the one table in millpond/status.h.
 *
 * Decides nothing: the table does. Owns constant texts only; any thread, no lock, never fails. A code that the table does
 * not have still gets a text, for codes arrive from tasks and over the wire and are printed before anyone has judged them:
 * what is MP_EUSER or above is a task's own, and all else is unknown. */
#include <millpond/status.h>

const char *mp_status_name(mp_status status)
{
    switch ((int)status) {
#define NAME(name, code, text)                                                                                             \
    case code: return #name;
        MP_STATUS_TABLE(NAME)
#undef NAME
    default: return status >= MP_EUSER ? "MP_EUSER" : "unknown status";
    }
}

const char *mp_status_text(mp_status status)
{
    switch ((int)status) {
#define TEXT(name, code, text)                                                                                             \
    case code: return text;
        MP_STATUS_TABLE(TEXT)
#undef TEXT
    default: return status >= MP_EUSER ? "the task failed with a code of its own" : "unknown status";
    }
}
