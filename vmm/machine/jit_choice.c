/* SPDX-License-Identifier: Apache-2.0 */
/* The words of --jit. */
#include "vmm/machine/jit_choice.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/err.h"

#define JIT_VERIFY_MAX 1000000000ul /* more blocks than a guest enters in minutes: a typing mistake */

static int parse_every(const char *text, struct jit_choice *choice, struct err *err)
{
	char *end;
	unsigned long every;

	errno = 0;
	every = strtoul(text, &end, 10);
	if (errno || end == text || *end || text[0] == '-' || every < 1 || every > JIT_VERIFY_MAX)
		return err_set(err, -EINVAL, "\"verify=%s\": N of verify=N is a number from 1 to %lu", text,
			       JIT_VERIFY_MAX);
	choice->verify_every = (uint32_t)every;
	return 0;
}

int jit_choice_parse(const char *text, struct jit_choice *choice, struct err *err)
{
	*choice = (struct jit_choice){.on = strcmp(text, "off") != 0};
	if (!choice->on || strcmp(text, "on") == 0)
		return 0;
	if (strcmp(text, "verify") == 0) {
		choice->verify_every = 1;
		return 0;
	}
	if (strncmp(text, "verify=", 7) == 0)
		return parse_every(text + 7, choice, err);
	return err_set(err, -EINVAL, "\"%s\" is none of off, on, verify, verify=N", text);
}
