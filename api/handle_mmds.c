/* SPDX-License-Identifier: Apache-2.0 */
/* Requests about the metadata store. */
#include <errno.h>
#include <jansson.h>

#include "api/handlers.h"
#include "api/json_reader.h"
#include "api/mmds.h"
#include "api/vm.h"
#include "vmm/base/err.h"

void api_get_mmds(struct api_vm *vm, const struct api_request *request, struct api_answer *answer)
{
	answer->json = json_incref(mmds_get(vm->mmds));
}

/* The body as JSON, owned; NULL: the answer says why. */
static json_t *mmds_read(const struct api_request *request, struct api_answer *answer)
{
	struct json_reader reader;
	json_t *json;

	json_reader_init(&reader, request->text, request->text_len);
	json = json_read_value(&reader);
	if (json && json_end(&reader))
		return json;
	json_decref(json);
	api_fail(answer, "An error occurred when deserializing the json body of a request: %s.",
		 reader.error);
	return NULL;
}

static void mmds_change(struct api_vm *vm, const struct api_request *request, struct api_answer *answer,
			int (*change)(struct mmds *mmds, json_t *value, struct err *err))
{
	json_t *json = mmds_read(request, answer);
	struct err err = {0};
	int code;

	if (!json)
		return;
	code = change(vm->mmds, json, &err);
	json_decref(json);
	if (code == 0)
		return;
	api_fail(answer, code == -EFBIG ? "%s" : "MMDS error: %s", err.message);
	if (code == -EFBIG)
		answer->status = 413;
}

void api_put_mmds(struct api_vm *vm, const struct api_request *request, struct api_answer *answer)
{
	mmds_change(vm, request, answer, mmds_put);
}

void api_patch_mmds(struct api_vm *vm, const struct api_request *request, struct api_answer *answer)
{
	mmds_change(vm, request, answer, mmds_patch);
}

void api_put_mmds_config(struct api_vm *vm, const struct api_request *request, struct api_answer *answer)
{
	struct err err = {0};

	if (api_vm_set_mmds_config(vm, request->body, &err) < 0)
		api_fail(answer, "%s", err.message);
}
