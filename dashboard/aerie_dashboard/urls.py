# SPDX-License-Identifier: Apache-2.0
"""Every page and the view that makes it."""

from django.urls import path

from aerie_dashboard.views import dns, images, login, networks, overview, servers

urlpatterns = [
    path("login", login.login),
    path("auth/websso/", login.websso),
    path("logout", login.logout),
    path("project", login.project),
    path("", overview.overview),
    path("servers", servers.list_),
    path("servers/new", servers.create),
    path("servers/<str:server_id>", servers.show),
    path("servers/<str:server_id>/live", servers.live),
    path("servers/<str:server_id>/log", servers.log),
    path("servers/<str:server_id>/console", servers.console),
    path("servers/<str:server_id>/events", servers.events),
    path("servers/<str:server_id>/delete", servers.delete),
    path("servers/<str:server_id>/do/<str:action>", servers.act),
    path("images", images.list_),
    path("images/<str:image_id>/delete", images.delete),
    path("flavors", images.flavors),
    path("keypairs", images.keypairs),
    path("networks", networks.list_),
    path("networks/<str:network_id>", networks.show),
    path("floating_ips", networks.floating_ips),
    path("floating_ips/<str:address_id>/delete", networks.release),
    path("security_groups", networks.security_groups),
    path("zones", dns.zones),
    path("zones/<str:zone_id>", dns.recordsets),
]
