import type { PrinterColumn } from './resource.ts';

const ready = '.status.conditions[?(@.type=="Ready")]';

/** Whether the resource is in force, why, and how old it is. */
export const READY_COLUMNS: readonly PrinterColumn[] = [
  { name: 'Ready', type: 'string', jsonPath: `${ready}.status` },
  { name: 'Reason', type: 'string', jsonPath: `${ready}.reason`, priority: 1 },
  { name: 'Age', type: 'date', jsonPath: '.metadata.creationTimestamp' },
];

/** The same for the kinds that select pods. */
export const IDENTITY_COLUMNS: readonly PrinterColumn[] = [
  { name: 'Pods', type: 'integer', jsonPath: '.status.stats.podsSelected' },
  { name: 'Entries', type: 'integer', jsonPath: '.status.stats.entriesToSet' },
  ...READY_COLUMNS,
];
