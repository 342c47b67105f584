import { list, object, optional, required } from '../schema/collections.ts';
import { labelSelector } from '../schema/label-selector.ts';
import { text, word } from '../schema/scalars.ts';
import type { ValueOf } from '../schema/schema.ts';
import { operationClause } from './operation-clause.ts';
import { sourceClause } from './source-clause.ts';

/** Longest condition. */
export const MAX_CONDITION_LENGTH = 2048;

/** What a template of a relation may name: a closed set, so that a name which nothing ever fills in is told when it is written. */
const RELATION_TEMPLATE =
  /^([^{}]|\{(source\.(spiffeID|namespace|serviceAccount)|destination\.(spiffeID|namespace)|user\.(subject|issuer)|request\.method|path\.[A-Za-z_][A-Za-z0-9_]{0,63})\})*$/;
const relationTemplate = text({
  title: 'template',
  maxLength: 512,
  pattern: RELATION_TEMPLATE,
  meaning:
    'a template: {source.spiffeID}, {source.namespace}, {source.serviceAccount}, {destination.spiffeID}, {destination.namespace}, {user.subject}, {user.issuer}, {request.method} or {path.NAME}, and no other braces',
  cheap: true,
});

const relation = object({
  user: required('Who, such as `user:{user.subject}` or `workload:{source.serviceAccount}`.', relationTemplate),
  relation: required('How they must be related.', text({ maxLength: 128 })),
  object: required(
    'To what, such as `document:{path.id}`, where `id` is a variable of a path template of this rule.',
    relationTemplate,
  ),
});

/** A rule: who calls, what for, and under which conditions. What is left out holds for everything. */
export const rule = object({
  from: optional('Who calls: any of these.', list(sourceClause, { minItems: 1, maxItems: 16 })),
  to: optional('What is asked for: any of these.', list(operationClause, { minItems: 1, maxItems: 16 })),
  when: optional(
    'A condition in CEL over `source`, `destination`, `request`, `user` and `now`.',
    text({ title: 'CEL', maxLength: MAX_CONDITION_LENGTH }),
  ),
  relations: optional(
    'Relations that the relation store must confirm: all of these.',
    list(relation, { minItems: 1, maxItems: 4 }),
  ),
});

/** A rule. */
export type RuleSpec = ValueOf<typeof rule>;

/** Fields that both kinds of policies have. */
export const commonFields = {
  action: optional('What a matching rule does. AUDIT records and changes nothing.', word('ALLOW', 'DENY', 'AUDIT'), 'ALLOW'),
  mode: optional('DryRun: its verdict is computed and recorded, and changes nothing.', word('Enforce', 'DryRun'), 'Enforce'),
  failureMode: optional(
    'What holds for the selected destinations while the policy that a running agent holds is older than its `maxStaleness`. An agent that holds none (it started and has not reached a CA yet) denies, whatever stands here.',
    word('Closed', 'Open'),
    'Closed',
  ),
  rules: optional(
    'The policy matches when any rule does. None: it matches nothing. `[{}]`: everything.',
    list(rule, { maxItems: 64 }),
    [],
  ),
  selector: optional('Labels of the pods that are called.', labelSelector),
  attested: optional(
    'Selectors that the called workload must all have been attested with, such as `unix:uid:1000`. For use without Kubernetes.',
    list(text({ title: 'selector', maxLength: 512, pattern: /^[^:]+:./, meaning: 'a selector "type:value"', cheap: true }), {
      minItems: 1,
      maxItems: 16,
    }),
  ),
};

/** Kinds of objects in the same namespace that a policy may be about by name. */
export const targetRef = object({
  kind: required('Kind of what is called.', word('ServiceAccount')),
  name: required('Its name.', text({ maxLength: 253 })),
});
