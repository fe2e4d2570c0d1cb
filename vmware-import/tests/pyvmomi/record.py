#!/usr/bin/env python3
"""Writes the shapes of pyvmomi's requests for the calls that the import makes: `record.py HOST:PORT LOG >requests.txt`.

HOST:PORT is tests/vcsim, started with `-log LOG -vm 60`. A shape is a request without its values: names of elements in
their order, `:kind` where an element is a reference to a managed object, `=kind` where it has an xsi:type of its own.
"""

import ssl
import sys
import xml.etree.ElementTree as tree

from pyVim.connect import Connect, Disconnect
from pyVmomi import vim, vmodl

XSI = "{http://www.w3.org/2001/XMLSchema-instance}type"


def shape(element):
    name = element.tag.split("}")[-1]
    if "type" in element.attrib:
        return name + ":" + element.attrib["type"]
    kind = element.attrib.get(XSI, "").split(":")[-1]
    # Of simple types; they can be left out.
    if kind in ("string", "boolean", "int", "long", "PropertyName"):
        kind = ""
    parts = [shape(child) for child in element]
    # A list is as long as it is.
    parts = [part for index, part in enumerate(parts) if index == 0 or parts[index - 1] != part]
    inner = " ".join(parts)
    return name + ("=" + kind if kind else "") + ("(" + inner + ")" if inner else "")


def calls(service):
    content = service.RetrieveContent()
    collector = content.propertyCollector
    view = content.viewManager.CreateContainerView(content.rootFolder, [vim.VirtualMachine], True)
    traversal = vmodl.query.PropertyCollector.TraversalSpec(
        name="view", type=vim.view.ContainerView, path="view", skip=False)
    objects = vmodl.query.PropertyCollector.ObjectSpec(obj=view, skip=True, selectSet=[traversal])
    properties = vmodl.query.PropertyCollector.PropertySpec(type=vim.VirtualMachine, pathSet=["name", "runtime.powerState"])
    spec = vmodl.query.PropertyCollector.FilterSpec(propSet=[properties], objectSet=[objects])
    page = collector.RetrievePropertiesEx([spec], vmodl.query.PropertyCollector.RetrieveOptions(maxObjects=100))
    assert len(page.objects) == 100 and page.token, "the front has to make pages"
    collector.ContinueRetrievePropertiesEx(page.token)
    vm = page.objects[0].obj
    view.DestroyView()
    objects = vmodl.query.PropertyCollector.ObjectSpec(obj=vm, skip=False)
    spec = vmodl.query.PropertyCollector.FilterSpec(propSet=[properties], objectSet=[objects])
    collector.RetrievePropertiesEx([spec], vmodl.query.PropertyCollector.RetrieveOptions(maxObjects=100))

    def tried(call, *arguments):
        # What the front answers is too little for some of pyvmomi's decoders: the request is what counts.
        try:
            return call(*arguments)
        except Exception as error:
            print(type(error).__name__, error, file=sys.stderr)
            return None

    vm.ReconfigVM_Task(vim.vm.ConfigSpec(changeTrackingEnabled=True))
    vm.CreateSnapshot_Task("xenith-import", "made by the import, removed by it", False, False)
    snapshot = vm.snapshot.rootSnapshotList[0].snapshot
    tried(vm.QueryChangedDiskAreas, snapshot, 2000, 0, "*")
    lease = tried(snapshot.ExportSnapshot)
    tried(lease.HttpNfcLeaseProgress, 50)
    tried(lease.HttpNfcLeaseComplete)
    tried(lease.HttpNfcLeaseAbort)
    tried(snapshot.RemoveSnapshot_Task, False, True)
    tried(vm.ShutdownGuest)
    tried(vm.PowerOffVM_Task)
    tried(vm.PowerOnVM_Task)
    tried(vm.ExportVm)


def main():
    host, log = sys.argv[1:]
    name, port = host.split(":")
    # Which versions a server speaks is asked for in a file that the simulator has not.
    service = Connect(host=name, port=int(port), user="user", pwd="pass", version="vim.version.v8_0_0_0",
                      sslContext=ssl._create_unverified_context())
    calls(service)
    Disconnect(service)
    found = {}
    for line in open(log):
        if line.startswith("#"):
            continue
        body = [part for part in tree.fromstring(line) if part.tag.endswith("}Body")][0][0]
        name = body.tag.split("}")[-1]
        found.setdefault(name, [])
        if shape(body) not in found[name]:
            found[name].append(shape(body))
    for name in sorted(found):
        for text in found[name]:
            print(text)


main()
