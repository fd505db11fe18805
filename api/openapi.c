/* SPDX-License-Identifier: Apache-2.0 */
/* The OpenAPI 3 document, printed from the routes and from the tables of their bodies. */
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "api/body.h"
#include "api/route.h"
#include "api/vm.h"

/* The schema of this body, and of those within it. */
static void openapi_add_schema(json_t *schemas, const struct body *body)
{
	if (!body || json_object_get(schemas, body->name))
		return;
	json_object_set_new(schemas, body->name, body_schema(body));
	for (const struct body_field *field = body->field; field->name; field++)
		openapi_add_schema(schemas, field->body);
}

static json_t *openapi_content(const char *type, const struct body *body)
{
	json_t *schema =
		body ? json_pack("{s:o}", "$ref", json_sprintf("#/components/schemas/%s", body->name))
		     : json_object();

	return json_pack("{s:{s:o}}", type, "schema", schema);
}

static json_t *openapi_error(const char *description)
{
	return json_pack("{s:s,s:{s:{s:{s:s}}}}", "description", description, "content", "application/json",
			 "schema", "$ref", "#/components/schemas/Error");
}

static json_t *openapi_responses(const struct api_route *route)
{
	json_t *responses = json_object();
	bool answers = route->method == HTTP_GET;

	if (route->flags & ROUTE_STREAM)
		json_object_set_new(responses, strstr(route->path, "console") ? "101" : "200",
				    json_pack("{s:s}", "description", "A stream that does not end"));
	else if (answers)
		json_object_set_new(responses, "200",
				    json_pack("{s:s,s:o}", "description", "The answer", "content",
					      openapi_content(route->flags & ROUTE_TEXT ? "text/plain"
											: "application/json",
							      route->reply)));
	else
		json_object_set_new(responses, "204", json_pack("{s:s}", "description", "Done"));
	json_object_set_new(responses, "400", openapi_error("The request is refused"));
	if (strcmp(route->path, "mmds") == 0 && !answers)
		json_object_set_new(responses, "413", openapi_error("It does not fit into the store"));
	return responses;
}

static json_t *openapi_operation(const struct api_route *route)
{
	static const char *const phases[] = {
		[API_BEFORE_START] = "before", [API_AFTER_START] = "after", [API_ANY_PHASE] = "any"};
	json_t *operation = json_pack("{s:s,s:s,s:o}", "summary", route->summary, "x-phase",
				      phases[route->phase], "responses", openapi_responses(route));
	bool has_body = route->body || (route->flags & ROUTE_BODY_ANY);

	if (strstr(route->path, "{id}"))
		json_object_set_new(operation, "parameters",
				    json_pack("[{s:s,s:s,s:b,s:{s:s}}]", "name", "id", "in", "path",
					      "required", 1, "schema", "type", "string"));
	if (has_body)
		json_object_set_new(operation, "requestBody",
				    json_pack("{s:b,s:o}", "required", !(route->flags & ROUTE_BODY_OPTIONAL),
					      "content", openapi_content("application/json", route->body)));
	return operation;
}

static void openapi_add_route(json_t *paths, const struct api_route *route)
{
	const char *name = http_method_name(route->method);
	char path[96], method[8];
	json_t *item;
	size_t i = 0;

	snprintf(path, sizeof(path), "/%s", route->path);
	for (; name[i] && i + 1 < sizeof(method); i++)
		method[i] = (char)(name[i] | 0x20);
	method[i] = '\0';
	item = json_object_get(paths, path);
	if (!item) {
		item = json_object();
		json_object_set_new(paths, path, item);
	}
	json_object_set_new(item, method, openapi_operation(route));
}

json_t *api_openapi(void)
{
	json_t *paths = json_object();
	json_t *schemas = json_pack("{s:{s:s,s:{s:{s:s}},s:[s]}}", "Error", "type", "object", "properties",
				    "fault_message", "type", "string", "required", "fault_message");

	for (const struct api_route *route = api_routes; route->path; route++) {
		openapi_add_route(paths, route);
		openapi_add_schema(schemas, route->body);
		openapi_add_schema(schemas, route->reply);
	}
	return json_pack("{s:s,s:{s:s,s:s,s:s},s:o,s:{s:o}}", "openapi", "3.0.3", "info", "title", "vmmctl",
			 "description", "Firecracker's API on a unix socket, and vmmctl's own below /vmmctl",
			 "version", API_FIRECRACKER_VERSION, "paths", paths, "components", "schemas",
			 schemas);
}
