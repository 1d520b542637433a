/* mp_str_of. */
#include "tests/lib/check.h"
#include <millpond.h>

TestSuite(str, .timeout = 60);

CHECK(str, of__a_text__points_to_it)
{
    const char *text = "caf\xc3\xa9";
    cr_assert(mp_str_of(text).data == text && mp_str_of(text).size == 5);
}

CHECK(str, of__nothing__is_empty)
{
    cr_assert_eq(mp_str_of("").size, 0);
    cr_assert_eq(mp_str_of(NULL).size, 0);
    cr_assert_str_eq(mp_str_of(NULL).data, "");
}
