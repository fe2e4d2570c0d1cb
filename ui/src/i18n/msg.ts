/** Marks a text that is translated where it is shown, so that the completeness test finds it. */
export const msg = (text: string): string => text;
