/* Names and texts of statuses; and the version, which is as small. */
#include "tests/lib/check.h"
#include <millpond.h>
#include <stdio.h>

TestSuite(status, .timeout = 60);
TestSuite(version, .timeout = 60);

CHECK(status, table__each_entry__has_its_name_and_text)
{
#define ENTRY(name, code, text)                                                                                            \
    cr_assert_eq(name, code);                                                                                              \
    cr_assert_str_eq(mp_status_name(name), #name);                                                                         \
    cr_assert_str_eq(mp_status_text(name), text);
    MP_STATUS_TABLE(ENTRY)
#undef ENTRY
}

CHECK(status, codes_of_tasks__have_one_name)
{
    cr_assert_str_eq(mp_status_name(MP_EUSER), "MP_EUSER");
    cr_assert_str_eq(mp_status_name((mp_status)(MP_EUSER + 3)), "MP_EUSER");
    cr_assert_str_eq(mp_status_text((mp_status)(MP_EUSER + 3)), "the task failed with a code of its own");
}

CHECK(status, codes_of_nobody__are_unknown)
{
    cr_assert_str_eq(mp_status_name((mp_status)999), "unknown status");
    cr_assert_str_eq(mp_status_text((mp_status)999), "unknown status");
    cr_assert_str_eq(mp_status_name((mp_status)999), "unknown status");
}

CHECK(version, library__is_that_of_the_header)
{
    char expected[32];
    (void)snprintf(expected, sizeof expected, "%d.%d.%d", MP_VERSION_MAJOR, MP_VERSION_MINOR, MP_VERSION_PATCH);
    cr_assert_str_eq(mp_version(), expected);
}
