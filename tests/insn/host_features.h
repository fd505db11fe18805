/* SPDX-License-Identifier: Apache-2.0 */
/* The host's CPUID feature words, in the order of tcg-fallback/x86/feature.h. */
#pragma once

#include <stdint.h>

#include "tcg-fallback/x86/feature.h"

void host_features(uint32_t feature[X86_FEATURE_WORDS]);
