import { READY_COLUMNS } from '../policy/schema/printer-columns.ts';
import type { PrinterColumn } from '../policy/schema/resource.ts';

/** The same for the kinds that select pods. */
export const IDENTITY_COLUMNS: readonly PrinterColumn[] = [
  { name: 'Pods', type: 'integer', jsonPath: '.status.stats.podsSelected' },
  { name: 'Entries', type: 'integer', jsonPath: '.status.stats.entriesToSet' },
  ...READY_COLUMNS,
];
