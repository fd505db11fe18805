/* SPDX-License-Identifier: Apache-2.0 */
/* The data store of the metadata service. */
#include "api/mmds.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/err.h"

struct mmds {
	json_t *store; /* NULL: nothing was put */
	json_t *empty;
	size_t max;
	enum mmds_version version;
	bool imds_compat;
};

struct mmds *mmds_create(size_t max)
{
	struct mmds *mmds = calloc(1, sizeof(*mmds));

	if (!mmds)
		return NULL;
	mmds->max = max;
	mmds->empty = json_object();
	if (mmds->empty)
		return mmds;
	free(mmds);
	return NULL;
}

void mmds_destroy(struct mmds *mmds)
{
	if (!mmds)
		return;
	json_decref(mmds->store);
	json_decref(mmds->empty);
	free(mmds);
}

void mmds_set_version(struct mmds *mmds, enum mmds_version version, bool imds_compat)
{
	mmds->version = version;
	mmds->imds_compat = imds_compat;
}

enum mmds_version mmds_get_version(const struct mmds *mmds)
{
	return mmds->version;
}

bool mmds_is_imds_compat(const struct mmds *mmds)
{
	return mmds->imds_compat;
}

json_t *mmds_get(struct mmds *mmds)
{
	return mmds->store ? mmds->store : mmds->empty;
}

static size_t mmds_size(const json_t *value)
{
	return json_dumpb(value, NULL, 0, JSON_COMPACT);
}

int mmds_put(struct mmds *mmds, json_t *value, struct err *err)
{
	if (!json_is_object(value))
		return err_set(err, -EINVAL, "The MMDS data store must be a JSON object.");
	if (mmds_size(value) > mmds->max)
		return err_set(err, -EFBIG, "MMDS limit exceeded error: The MMDS patch request doesn't fit.");
	json_incref(value);
	json_decref(mmds->store);
	mmds->store = value;
	return 0;
}

/* RFC 7396, section 2. Owned; NULL without memory. */
static json_t *mmds_merge(json_t *target, json_t *patch)
{
	json_t *merged;
	const char *key;
	json_t *value;

	if (!json_is_object(patch))
		return json_incref(patch);
	merged = json_is_object(target) ? json_copy(target) : json_object();
	json_object_foreach(patch, key, value)
	{
		if (json_is_null(value))
			json_object_del(merged, key);
		else
			json_object_set_new(merged, key, mmds_merge(json_object_get(merged, key), value));
	}
	return merged;
}

int mmds_patch(struct mmds *mmds, json_t *value, struct err *err)
{
	json_t *merged;
	int code;

	if (!mmds->store)
		return err_set(err, -ENODATA, "The MMDS data store is not initialized.");
	merged = mmds_merge(mmds->store, value);
	code = mmds_put(mmds, merged, err);
	json_decref(merged);
	return code;
}
