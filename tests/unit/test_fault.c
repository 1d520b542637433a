/* Faults: the first one is told, with a path that keeps its end. */
#include "serial/fault.h"
#include "tests/lib/check.h"
#include <string.h>

TestSuite(fault, .timeout = 60);

CHECK(fault, set__twice__keeps_the_first)
{
    mp__fault fault = {0};
    cr_assert_eq(mp__fault_set(&fault, MP_ERANGE, 17, "%d does not fit %s", 300, "int8"), MP_ERANGE);
    cr_assert_eq(mp__fault_set(&fault, MP_ENOMEM, 18, "other"), MP_ENOMEM);
    cr_assert(fault.status == MP_ERANGE && fault.offset == 17);
    cr_assert_str_eq(fault.message, "300 does not fit int8");
}

CHECK(fault, text__with_and_without_path_and_offset__reads_well)
{
    mp__fault fault = {0};
    char text[400];
    (void)mp__fault_set(&fault, MP_ERANGE, 17, "300 does not fit int8");
    mp__fault_text(&fault, text, sizeof text);
    cr_assert_str_eq(text, "300 does not fit int8 (byte 17)");
    mp__fault_in_field(&fault, "x");
    mp__fault_in_element(&fault, 3);
    mp__fault_text(&fault, text, sizeof text);
    cr_assert_str_eq(text, "element '[3].x': 300 does not fit int8 (byte 17)");
    mp__fault_in_field(&fault, "corners");
    mp__fault_text(&fault, text, sizeof text);
    cr_assert_str_eq(text, "field 'corners[3].x': 300 does not fit int8 (byte 17)");
    fault.offset = MP__NO_OFFSET;
    mp__fault_text(&fault, text, sizeof text);
    cr_assert_str_eq(text, "field 'corners[3].x': 300 does not fit int8");
}

CHECK(fault, path__too_long__loses_its_front)
{
    mp__fault fault = {0};
    char text[400];
    (void)mp__fault_set(&fault, MP_ERANGE, 0, "m");
    mp__fault_in_field(&fault, "culprit");
    for (int i = 0; i < 50; i++) {
        mp__fault_in_element(&fault, 1000000 + (size_t)i);
        mp__fault_in_field(&fault, "a_rather_long_name_of_a_field");
        cr_assert_lt(strlen(fault.path), sizeof fault.path);
    }
    cr_assert_eq(strlen(fault.path), sizeof fault.path - 1);
    cr_assert_eq(strncmp(fault.path, "...", 3), 0);
    cr_assert_neq(fault.path[3], '.');
    cr_assert_str_eq(fault.path + strlen(fault.path) - 17, "[1000000].culprit");
    mp__fault_text(&fault, text, 20);
    cr_assert_eq(strlen(text), 19);
}

CHECK(fault, name__longer_than_any_buffer__does_no_harm)
{
    mp__fault fault = {0};
    char name[500];
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = 0;
    (void)mp__fault_set(&fault, MP_ERANGE, 0, "%s", name);
    mp__fault_in_field(&fault, name);
    mp__fault_in_field(&fault, name);
    cr_assert_eq(strlen(fault.path), sizeof fault.path - 1);
    cr_assert_eq(strlen(fault.message), sizeof fault.message - 1);
}
