import { condition } from '../schema/condition.ts';
import { list, object, optional } from '../schema/collections.ts';
import { READY_COLUMNS } from '../schema/printer-columns.ts';
import type { PrinterColumn } from '../schema/resource.ts';
import { text, wholeNumber } from '../schema/scalars.ts';
import type { ValueOf } from '../schema/schema.ts';

const count = wholeNumber({ min: 0 });

const names = list(text({ maxLength: 508 }), { maxItems: 64 });

/** Status of both kinds of policies. */
export const policyStatus = object({
  observedGeneration: optional('The generation of the resource that this status is about.', count),
  conditions: optional(
    'Observations: `Accepted` (the policy was read and compiled), `Programmed` (every node that it concerns enforces it), `Ready` (both).',
    list(condition, { maxItems: 16, keyedBy: 'type' }),
    [],
  ),
  nodesConcerned: optional('Nodes with a workload that the policy selects.', count, 0),
  nodesProgrammed: optional('Nodes of these that enforce this generation.', count, 0),
  shadowedBy: optional('Policies that decide first whatever this one would decide.', names, []),
  conflictsWith: optional('Policies that say the opposite of the same calls.', names, []),
  hits: optional(
    'Calls of the last hour that a rule of this policy decided, or that one matches where its action is AUDIT.',
    count,
    0,
  ),
  wouldDenyHits: optional('Of mode DryRun: calls of the last hour that would have been denied.', count, 0),
});

/** Status of both kinds of policies. */
export type PolicyStatus = ValueOf<typeof policyStatus>;

/** Columns of both kinds of policies. */
export const POLICY_COLUMNS: readonly PrinterColumn[] = [
  { name: 'Action', type: 'string', jsonPath: '.spec.action' },
  { name: 'Mode', type: 'string', jsonPath: '.spec.mode' },
  { name: 'Nodes', type: 'integer', jsonPath: '.status.nodesConcerned', priority: 1 },
  { name: 'Programmed', type: 'integer', jsonPath: '.status.nodesProgrammed' },
  ...READY_COLUMNS,
];
