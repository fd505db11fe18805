/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a state table (vmm/core/device.h) names in a structure, as JSON and back. Integers are numbers, 64-bit
 * ones strings of hexadecimal digits (JSON's numbers end below), arrays of bytes one string of two digits
 * each, other arrays lists; a field of a group is a list with an element for each structure.
 */
#pragma once

struct err;
struct json_t;
struct state_field;

/* Owned (json_decref), or NULL without memory. */
struct json_t *state_to_json(const struct state_field *table, const void *instance);

/*
 * Sets the fields that the object has; those it lacks stay as they are, since they may be younger than it. 0,
 * or -EINVAL with a message that begins with the field's name: it is unknown, of another type or length, or
 * too large; some fields may have been set then. The instance's groups must have as many structures as were
 * saved.
 */
int state_from_json(const struct state_field *table, void *instance, const struct json_t *json,
		    struct err *err);
