#include "tcg-fallback/x86/lower.h"
bool x86_lower_alu(struct x86_lowering *l, struct x86_op *op) { return false; }
bool x86_lower_move(struct x86_lowering *l, struct x86_op *op) { return false; }
bool x86_lower_shift(struct x86_lowering *l, struct x86_op *op) { return false; }
bool x86_lower_branch(struct x86_lowering *l, struct x86_op *op) { return false; }
bool x86_lower_misc(struct x86_lowering *l, struct x86_op *op) { return false; }
