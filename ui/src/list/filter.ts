/** Words as one in the API's filter language, whatever stands in them. */
export function quoted(words: string): string {
  return words ? `"${words.replaceAll('\\', '\\\\').replaceAll('"', '\\"')}"` : '';
}
