// Only what English itself needs: plurals. Every other text is its own key.
export const en: Record<string, string> = {
  '{{count}} VMs_one': '{{count}} VM',
  '{{count}} VMs_other': '{{count}} VMs',
  '{{count}} hosts_one': '{{count}} host',
  '{{count}} hosts_other': '{{count}} hosts',
  '{{count}} selected_one': '{{count}} selected',
  '{{count}} selected_other': '{{count}} selected',
  '{{count}} tasks running_one': '{{count}} task running',
  '{{count}} tasks running_other': '{{count}} tasks running',
  '{{count}} disks_one': '{{count}} disk',
  '{{count}} disks_other': '{{count}} disks',
  '{{count}} records_one': '{{count}} record',
  '{{count}} records_other': '{{count}} records',
};
