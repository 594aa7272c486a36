################################################################################
#
# ws2cgi
#
################################################################################

WS2CGI_VERSION = 0.1.0
WS2CGI_SITE = $(BR2_EXTERNAL_WS2CGI_PATH)/../..
WS2CGI_SITE_METHOD = local
WS2CGI_OVERRIDE_SRCDIR_RSYNC_EXCLUSIONS = --exclude /target
WS2CGI_LICENSE = MIT or Apache-2.0
WS2CGI_LICENSE_FILES = LICENSE-MIT LICENSE-APACHE

# As in Cargo.toml: Buildroot's own optimization level would come before it.
WS2CGI_CARGO_ENV = \
	CARGO_PROFILE_RELEASE_OPT_LEVEL=z \
	CARGO_PROFILE_RELEASE_LTO=true \
	CARGO_PROFILE_RELEASE_CODEGEN_UNITS=1

# ws2cgi-small is for boards without an MMU.
WS2CGI_CARGO_BUILD_OPTS = --bin ws2cgi

# Buildroot builds offline, and vendors only what it has downloaded itself.
define WS2CGI_VENDOR
	cd $(@D) && mkdir -p .cargo && \
		$(TARGET_MAKE_ENV) $(PKG_COMMON_CARGO_ENV) \
		cargo vendor --locked >.cargo/vendor.toml && \
		mv .cargo/vendor.toml .cargo/config.toml
endef
WS2CGI_PRE_CONFIGURE_HOOKS += WS2CGI_VENDOR

WS2CGI_CGI_BIN = $(call qstrip,$(BR2_PACKAGE_WS2CGI_CGI_BIN))

define WS2CGI_INSTALL_TARGET_CMDS
	$(INSTALL) -D -m 0755 $(@D)/target/$(RUSTC_TARGET_NAME)/release/ws2cgi \
		$(TARGET_DIR)/usr/sbin/ws2cgi
	$(INSTALL) -d $(TARGET_DIR)/usr/bin $(TARGET_DIR)/usr/lib/ws-bin
	ln -sf ../sbin/ws2cgi $(TARGET_DIR)/usr/bin/ws-send
	$(if $(WS2CGI_CGI_BIN), \
		$(INSTALL) -d $(TARGET_DIR)$(WS2CGI_CGI_BIN) && \
		ln -sf /usr/sbin/ws2cgi $(TARGET_DIR)$(WS2CGI_CGI_BIN)/nph-ws && \
		ln -sf /usr/sbin/ws2cgi $(TARGET_DIR)$(WS2CGI_CGI_BIN)/ws-post && \
		ln -sf /usr/sbin/ws2cgi $(TARGET_DIR)$(WS2CGI_CGI_BIN)/ws-push)
endef

define WS2CGI_INSTALL_INIT_SYSV
	$(INSTALL) -D -m 0755 $(@D)/board/init.d/ws2cgi \
		$(TARGET_DIR)/etc/init.d/S60ws2cgi
endef

$(eval $(cargo-package))
