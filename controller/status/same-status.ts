/** Whether both statuses say the same, the time of a condition's last change left out. */
export function sameStatus(one: unknown, other: unknown): boolean {
  return comparable(one) === comparable(other);
}

function comparable(status: unknown): string {
  return JSON.stringify(status, (key, value: unknown) => {
    if (key === 'lastTransitionTime') return undefined;
    if (typeof value !== 'object' || value === null || Array.isArray(value)) return value;
    return Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)));
  });
}
