import type { PrinterColumn } from './resource.ts';

const ready = '.status.conditions[?(@.type=="Ready")]';

/** Whether the resource is in force, why, and how old it is. */
export const READY_COLUMNS: readonly PrinterColumn[] = [
  { name: 'Ready', type: 'string', jsonPath: `${ready}.status` },
  { name: 'Reason', type: 'string', jsonPath: `${ready}.reason`, priority: 1 },
  { name: 'Age', type: 'date', jsonPath: '.metadata.creationTimestamp' },
];
