/* MP__EACH(M, T, a, b, ...) is M(T, a) M(T, b) ..., for 1 to 64 arguments: what MP_TYPE and MP_FUNCTION are built on.
 * One line per count: C11 has no __VA_OPT__ to end a recursion with, and a compiler's message shows one level, not ten. */
#ifndef MILLPOND_EACH_H
#define MILLPOND_EACH_H

#define MP__EACH(M, T, ...) MP__CONCAT(MP__EACH_, MP__COUNT(__VA_ARGS__))(M, T, __VA_ARGS__)
#define MP__COUNT(...) MP__COUNT_(__VA_ARGS__, \
    64, 63, 62, 61, 60, 59, 58, 57, 56, 55, 54, 53, 52, 51, 50, 49, 48, 47, 46, 45, \
    44, 43, 42, 41, 40, 39, 38, 37, 36, 35, 34, 33, 32, 31, 30, 29, 28, 27, 26, 25, \
    24, 23, 22, 21, 20, 19, 18, 17, 16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, \
    4, 3, 2, 1, 0)
#define MP__COUNT_( \
    _1, _2, _3, _4, _5, _6, _7, _8, _9, _10, _11, _12, _13, _14, _15, _16, _17, _18, _19, _20, \
    _21, _22, _23, _24, _25, _26, _27, _28, _29, _30, _31, _32, _33, _34, _35, _36, _37, _38, _39, _40, \
    _41, _42, _43, _44, _45, _46, _47, _48, _49, _50, _51, _52, _53, _54, _55, _56, _57, _58, _59, _60, \
    _61, _62, _63, _64, N, ...) N

#define MP__EACH_1(M, T, a) M(T, a)
#define MP__EACH_2(M, T, a, ...) M(T, a) MP__EACH_1(M, T, __VA_ARGS__)
#define MP__EACH_3(M, T, a, ...) M(T, a) MP__EACH_2(M, T, __VA_ARGS__)
#define MP__EACH_4(M, T, a, ...) M(T, a) MP__EACH_3(M, T, __VA_ARGS__)
#define MP__EACH_5(M, T, a, ...) M(T, a) MP__EACH_4(M, T, __VA_ARGS__)
#define MP__EACH_6(M, T, a, ...) M(T, a) MP__EACH_5(M, T, __VA_ARGS__)
#define MP__EACH_7(M, T, a, ...) M(T, a) MP__EACH_6(M, T, __VA_ARGS__)
#define MP__EACH_8(M, T, a, ...) M(T, a) MP__EACH_7(M, T, __VA_ARGS__)
#define MP__EACH_9(M, T, a, ...) M(T, a) MP__EACH_8(M, T, __VA_ARGS__)
#define MP__EACH_10(M, T, a, ...) M(T, a) MP__EACH_9(M, T, __VA_ARGS__)
#define MP__EACH_11(M, T, a, ...) M(T, a) MP__EACH_10(M, T, __VA_ARGS__)
#define MP__EACH_12(M, T, a, ...) M(T, a) MP__EACH_11(M, T, __VA_ARGS__)
#define MP__EACH_13(M, T, a, ...) M(T, a) MP__EACH_12(M, T, __VA_ARGS__)
#define MP__EACH_14(M, T, a, ...) M(T, a) MP__EACH_13(M, T, __VA_ARGS__)
#define MP__EACH_15(M, T, a, ...) M(T, a) MP__EACH_14(M, T, __VA_ARGS__)
#define MP__EACH_16(M, T, a, ...) M(T, a) MP__EACH_15(M, T, __VA_ARGS__)
#define MP__EACH_17(M, T, a, ...) M(T, a) MP__EACH_16(M, T, __VA_ARGS__)
#define MP__EACH_18(M, T, a, ...) M(T, a) MP__EACH_17(M, T, __VA_ARGS__)
#define MP__EACH_19(M, T, a, ...) M(T, a) MP__EACH_18(M, T, __VA_ARGS__)
#define MP__EACH_20(M, T, a, ...) M(T, a) MP__EACH_19(M, T, __VA_ARGS__)
#define MP__EACH_21(M, T, a, ...) M(T, a) MP__EACH_20(M, T, __VA_ARGS__)
#define MP__EACH_22(M, T, a, ...) M(T, a) MP__EACH_21(M, T, __VA_ARGS__)
#define MP__EACH_23(M, T, a, ...) M(T, a) MP__EACH_22(M, T, __VA_ARGS__)
#define MP__EACH_24(M, T, a, ...) M(T, a) MP__EACH_23(M, T, __VA_ARGS__)
#define MP__EACH_25(M, T, a, ...) M(T, a) MP__EACH_24(M, T, __VA_ARGS__)
#define MP__EACH_26(M, T, a, ...) M(T, a) MP__EACH_25(M, T, __VA_ARGS__)
#define MP__EACH_27(M, T, a, ...) M(T, a) MP__EACH_26(M, T, __VA_ARGS__)
#define MP__EACH_28(M, T, a, ...) M(T, a) MP__EACH_27(M, T, __VA_ARGS__)
#define MP__EACH_29(M, T, a, ...) M(T, a) MP__EACH_28(M, T, __VA_ARGS__)
#define MP__EACH_30(M, T, a, ...) M(T, a) MP__EACH_29(M, T, __VA_ARGS__)
#define MP__EACH_31(M, T, a, ...) M(T, a) MP__EACH_30(M, T, __VA_ARGS__)
#define MP__EACH_32(M, T, a, ...) M(T, a) MP__EACH_31(M, T, __VA_ARGS__)
#define MP__EACH_33(M, T, a, ...) M(T, a) MP__EACH_32(M, T, __VA_ARGS__)
#define MP__EACH_34(M, T, a, ...) M(T, a) MP__EACH_33(M, T, __VA_ARGS__)
#define MP__EACH_35(M, T, a, ...) M(T, a) MP__EACH_34(M, T, __VA_ARGS__)
#define MP__EACH_36(M, T, a, ...) M(T, a) MP__EACH_35(M, T, __VA_ARGS__)
#define MP__EACH_37(M, T, a, ...) M(T, a) MP__EACH_36(M, T, __VA_ARGS__)
#define MP__EACH_38(M, T, a, ...) M(T, a) MP__EACH_37(M, T, __VA_ARGS__)
#define MP__EACH_39(M, T, a, ...) M(T, a) MP__EACH_38(M, T, __VA_ARGS__)
#define MP__EACH_40(M, T, a, ...) M(T, a) MP__EACH_39(M, T, __VA_ARGS__)
#define MP__EACH_41(M, T, a, ...) M(T, a) MP__EACH_40(M, T, __VA_ARGS__)
#define MP__EACH_42(M, T, a, ...) M(T, a) MP__EACH_41(M, T, __VA_ARGS__)
#define MP__EACH_43(M, T, a, ...) M(T, a) MP__EACH_42(M, T, __VA_ARGS__)
#define MP__EACH_44(M, T, a, ...) M(T, a) MP__EACH_43(M, T, __VA_ARGS__)
#define MP__EACH_45(M, T, a, ...) M(T, a) MP__EACH_44(M, T, __VA_ARGS__)
#define MP__EACH_46(M, T, a, ...) M(T, a) MP__EACH_45(M, T, __VA_ARGS__)
#define MP__EACH_47(M, T, a, ...) M(T, a) MP__EACH_46(M, T, __VA_ARGS__)
#define MP__EACH_48(M, T, a, ...) M(T, a) MP__EACH_47(M, T, __VA_ARGS__)
#define MP__EACH_49(M, T, a, ...) M(T, a) MP__EACH_48(M, T, __VA_ARGS__)
#define MP__EACH_50(M, T, a, ...) M(T, a) MP__EACH_49(M, T, __VA_ARGS__)
#define MP__EACH_51(M, T, a, ...) M(T, a) MP__EACH_50(M, T, __VA_ARGS__)
#define MP__EACH_52(M, T, a, ...) M(T, a) MP__EACH_51(M, T, __VA_ARGS__)
#define MP__EACH_53(M, T, a, ...) M(T, a) MP__EACH_52(M, T, __VA_ARGS__)
#define MP__EACH_54(M, T, a, ...) M(T, a) MP__EACH_53(M, T, __VA_ARGS__)
#define MP__EACH_55(M, T, a, ...) M(T, a) MP__EACH_54(M, T, __VA_ARGS__)
#define MP__EACH_56(M, T, a, ...) M(T, a) MP__EACH_55(M, T, __VA_ARGS__)
#define MP__EACH_57(M, T, a, ...) M(T, a) MP__EACH_56(M, T, __VA_ARGS__)
#define MP__EACH_58(M, T, a, ...) M(T, a) MP__EACH_57(M, T, __VA_ARGS__)
#define MP__EACH_59(M, T, a, ...) M(T, a) MP__EACH_58(M, T, __VA_ARGS__)
#define MP__EACH_60(M, T, a, ...) M(T, a) MP__EACH_59(M, T, __VA_ARGS__)
#define MP__EACH_61(M, T, a, ...) M(T, a) MP__EACH_60(M, T, __VA_ARGS__)
#define MP__EACH_62(M, T, a, ...) M(T, a) MP__EACH_61(M, T, __VA_ARGS__)
#define MP__EACH_63(M, T, a, ...) M(T, a) MP__EACH_62(M, T, __VA_ARGS__)
#define MP__EACH_64(M, T, a, ...) M(T, a) MP__EACH_63(M, T, __VA_ARGS__)

#endif
